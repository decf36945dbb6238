// Events that are set aside: which keys are parked, and what becomes of their later events.
import type { Effects } from './effects.js';
import type { Claimed } from './claim.js';
import { asText } from './link.js';
import type { Raw } from './processor.js';
import { keyBytes } from './routing.js';
import { cut, type Tenure } from './tenure.js';

/** What an event failed with. */
export interface Failure {
  readonly attempts: number;
  readonly type: string;
  readonly message: string;
}

const NONE: Failure = { attempts: 0, type: '', message: '' };
/** Entries that one read fetches. */
const PAGE = 100;

export class Parked {
  /** Key -> how many of its events are parked. */
  private readonly keys = new Map<string, number>();
  private readonly toReplay = new Set<string>();

  constructor(private readonly tenure: Tenure) {}

  /** Learn after a claim which keys are parked, and which of them are to be replayed. */
  async load({ parked, replay }: Claimed): Promise<void> {
    const { keys, owner } = this.tenure;
    this.keys.clear();
    this.toReplay.clear();
    if (parked > 0) {
      const pairs = (await owner.link.ask(keys.log, (redis) => redis.callBuffer('HGETALL', keys.parkedKeys))) as Buffer[];
      // The value begins with the number; how the last replay failed may follow.
      for (let i = 0; i + 1 < pairs.length; i += 2) this.keys.set(hex(pairs[i]!), parseInt(pairs[i + 1]!.toString(), 10));
    }
    if (replay > 0) {
      const names = (await owner.link.ask(keys.log, (redis) => redis.callBuffer('HKEYS', keys.replay))) as Buffer[];
      for (const each of names) this.toReplay.add(hex(each));
    }
  }

  get replays(): boolean {
    return this.toReplay.size > 0;
  }

  /** Does the event wait behind a parked one of its key? */
  has(raw: Raw): boolean {
    return this.keys.size > 0 && this.keys.has(hex(this.keyOf(raw)));
  }

  /** Set an event aside, because it failed, or because an earlier one of its key did. */
  park(effects: Effects, raw: Raw, { attempts, type, message }: Failure = NONE): void {
    const key = this.keyOf(raw);
    const name = hex(key);
    this.keys.set(name, (this.keys.get(name) ?? 0) + 1);
    const head = { key, event: raw.id, attempts: String(attempts), error_type: cut(type, 1000), error_message: cut(message, 4000) };
    effects.park([...Object.entries(head).flatMap(([field, value]) => [Buffer.from(field), Buffer.from(value)]), ...kept(raw.fields)]);
  }

  /** A replayed event is finished. */
  unpark(effects: Effects, raw: Raw): void {
    const name = hex(raw.parked!.key);
    const left = (this.keys.get(name) ?? 1) - 1;
    if (left > 0) this.keys.set(name, left);
    else {
      this.keys.delete(name);
      this.toReplay.delete(name);
    }
    effects.replayed(raw.parked!.entry);
  }

  /** A replayed event has failed again: its key stays parked, with its events in their order. */
  async parkAgain(raw: Raw, { attempts, type, message }: Failure): Promise<void> {
    const { keys, owner, epoch, nonce } = this.tenure;
    const failure = cut(`${raw.id} ${attempts} ${type} ${message}`, 1200);
    await owner.link.call('park_again', [keys.state, keys.parkedKeys, keys.replay], [epoch, nonce, raw.parked!.key, failure]);
    this.toReplay.delete(hex(raw.parked!.key));
  }

  /** Give the parked events that are to be replayed to `replay`, in order, until it returns false. */
  async replayAll(replay: (raw: Raw) => Promise<boolean>): Promise<void> {
    const { keys, owner } = this.tenure;
    for (let from = '-'; this.replays; ) {
      const ask = ['XRANGE', keys.parked, from, '+', 'COUNT', String(PAGE)] as const;
      const page = (await owner.link.ask(keys.log, (redis) => redis.callBuffer(...ask))) as [Buffer, Buffer[]][];
      for (const [entry, fields] of page) {
        const raw = { id: asText(fields[3]), fields: ofEvent(fields.slice(10)), size: 0, parked: { entry: entry.toString(), key: fields[1]! } };
        while (this.toReplay.has(hex(raw.parked.key)) && !(await replay(raw))) {
          if (this.tenure.isEnding || this.tenure.stopped) return;
        }
      }
      if (page.length < PAGE) break;
      from = `(${page.at(-1)![0].toString()}`;
    }
    this.toReplay.clear(); // What is still named there has no event any more.
  }

  /** The key of an event, empty if it cannot be read. */
  private keyOf(raw: Raw): Buffer {
    try {
      const { stream } = this.tenure.owner.processor;
      return Buffer.from(keyBytes(stream.keyOf(stream.decode(raw.fields))));
    } catch {
      return Buffer.alloc(0);
    }
  }
}

/** The last field of an entry that other clients add: how many replays have failed, and the traceback of the failure. */
const FAILED = '@failed';
const isLast = (fields: readonly Uint8Array[]): boolean => fields.length > 1 && Buffer.from(fields.at(-2)!).toString() === FAILED;

/** The fields of an event as an entry has them. What the event itself has under this name is not taken for ours. */
const kept = (fields: readonly Uint8Array[]): Uint8Array[] =>
  isLast(fields) ? [...fields, Buffer.from(FAILED), Buffer.from('0 ')] : [...fields];

/** The fields of the event in an entry, without ours. */
const ofEvent = (fields: readonly Buffer[]): Buffer[] =>
  isLast(fields) && /^\d{1,9} /.test(asText(fields.at(-1)!)) ? fields.slice(0, -2) : [...fields];

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
