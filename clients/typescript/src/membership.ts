// What one member knows of its group: makes the calls of `sync`, and says what follows from the replies. No I/O.
import type { Arg, Reply } from './link.js';
import { asNumber } from './link.js';

export type Action = 'stay' | 'retire' | 'leave';

export interface Times {
  /** Milliseconds without a heartbeat after which the member loses its partitions. */
  readonly session: number;
  /** Milliseconds that a member has to release a partition. */
  readonly rebalance: number;
  /** Milliseconds to wait for more joiners before partitions move. */
  readonly delay: number;
}

interface Released {
  readonly partition: number;
  readonly grant: number;
  readonly seen: number;
}

export interface SyncCall {
  readonly number: number;
  readonly reported: readonly string[];
  readonly args: Arg[];
  /** When a call with this number was first sent: a repeat does not renew the session. */
  readonly sent: number;
}

export interface Changes {
  readonly claim: { partition: number; grant: number }[];
  readonly drain: number[];
  /** Milliseconds after which to call again at the latest. */
  readonly wait: number;
}

/** Numbers the calls of a member, of which another thread may make some. */
export interface Numbers {
  readonly last: number;
  next(): number;
  raise(to: number): void;
}

export class Membership {
  /** Partition -> grant, for what is held. */
  readonly held = new Map<number, number>();
  /** The session has surely not ended before this time. */
  deadline = 0;
  private readonly claiming = new Map<number, number>();
  private readonly released = new Map<string, Released>();
  private joined = false;
  private sent = { number: 0, at: 0 };

  constructor(
    private readonly partitions: number,
    private readonly times: Times,
    private readonly member: { id: string; incarnation: string; description: string },
    private readonly numbers: Numbers,
  ) {}

  get mustReport(): boolean {
    return this.released.size > 0;
  }

  next(action: Action, now: number): SyncCall {
    // Until it is answered, the first call is repeated: a later one would count as that of an earlier start.
    const number = this.joined || this.numbers.last === 0 || action === 'leave' ? this.numbers.next() : this.numbers.last;
    if (this.sent.number !== number) this.sent = { number, at: now };
    return { number, reported: [...this.released.keys()], args: this.report(action, number), sent: this.sent.at };
  }

  /** The arguments of a call with this number. */
  report(action: Action, number: number): Arg[] {
    const { id, incarnation, description } = this.member;
    const { session, rebalance, delay } = this.times;
    const args: Arg[] = [this.partitions, session, rebalance, delay, id, incarnation, number, action, description, this.held.size];
    for (const [partition, grant] of this.held) args.push(partition, grant);
    for (const each of this.released.values()) args.push(each.partition, each.grant, each.seen);
    return args;
  }

  replied(sent: SyncCall, reply: Reply): Changes {
    const numbers = reply.map(asNumber);
    const [call = 0, , session = this.times.session, again = -1] = numbers;
    this.joined = true;
    this.numbers.raise(call);
    if (call <= sent.number) for (const each of sent.reported) this.released.delete(each);
    this.deadline = Math.max(this.deadline, sent.sent + session);
    const granted = new Map<number, { grant: number; hold: boolean }>();
    for (let i = 4; i + 2 < numbers.length; i += 3) granted.set(numbers[i]!, { grant: numbers[i + 1]!, hold: numbers[i + 2] === 1 });
    const drain = [...this.held].filter(([n, grant]) => !isSame(granted.get(n), grant)).map(([n]) => n);
    for (const [n, grant] of this.claiming) if (!isSame(granted.get(n), grant)) this.claiming.delete(n);
    const claim: Changes['claim'] = [];
    for (const [partition, { grant, hold }] of granted) {
      if (this.held.has(partition) || this.released.has(`${partition} ${grant}`)) continue;
      if (!hold) this.notHeld(partition, grant);
      else if (this.claiming.get(partition) !== grant) {
        this.claiming.set(partition, grant);
        claim.push({ partition, grant });
      }
    }
    const wait = Math.min(session / 3, again >= 0 ? again + 5 : Infinity);
    return { claim, drain, wait: this.mustReport ? 0 : wait };
  }

  /** Is the partition still to be claimed under this grant? */
  isClaiming(partition: number, grant: number): boolean {
    return this.claiming.get(partition) === grant;
  }

  /** The claim succeeded. Returns false if the grant is not the current one any more. */
  claimed(partition: number, grant: number): boolean {
    if (!this.isClaiming(partition, grant)) return false;
    this.claiming.delete(partition);
    this.held.set(partition, grant);
    return true;
  }

  /** The claim cannot be made now: the next reply grants it again. */
  claimFailed(partition: number, grant: number): void {
    if (this.isClaiming(partition, grant)) this.claiming.delete(partition);
  }

  /** The partition is not held under this grant; the next call reports that. `seen` is the grant that was met there. */
  notHeld(partition: number, grant: number, seen = 0): void {
    if (this.held.get(partition) === grant) this.held.delete(partition);
    if (this.claiming.get(partition) === grant) this.claiming.delete(partition);
    this.released.set(`${partition} ${grant}`, { partition, grant, seen });
  }
}

const isSame = (found: { grant: number; hold: boolean } | undefined, grant: number): boolean => found?.hold === true && found.grant === grant;
