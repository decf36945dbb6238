// Sends entries: in order, one append in flight for each partition, each entry once.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Entry } from './codec.js';
import { flat } from './effects.js';
import { FullError, refusedWith, type Refused } from './errors.js';
import { idsFrom } from './ids.js';
import { PartitionKeys } from './keys.js';
import { asNumber, asText, type Link, now } from './link.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';

/** Entries and bytes of one append. */
const MOST_ENTRIES = 500;
const MOST_BYTES = 1_000_000;

/** `refuse`: throw FullError at once. `wait`: until there is room, for the delivery timeout. `drop_oldest`: remove events
 * that nobody has processed; each processor's loss is counted. */
export type WhenFull = 'refuse' | 'wait' | 'drop_oldest';

export interface Destination {
  readonly name: string;
  readonly partitions: number;
  readonly size: number;
  prefix(partition: number): string;
}

interface Waiting {
  readonly entry: Entry;
  readonly done: (id: string) => void;
  readonly failed: (error: unknown) => void;
}

interface Lane {
  readonly partition: number;
  readonly keys: PartitionKeys;
  id: string;
  sequence: number;
  waiting: Waiting[];
  busy: boolean;
}

export class Producer {
  private readonly lanes = new Map<number, Lane>();
  private declared: Promise<unknown> | undefined;

  constructor(
    private readonly link: Link,
    private readonly stream: Destination,
    private readonly options: { whenFull: WhenFull; deliveryTimeout: number; warn: (text: string) => void },
  ) {}

  send(partition: number, entry: Entry): Promise<string> {
    let lane = this.lanes.get(partition);
    if (lane === undefined) {
      const keys = new PartitionKeys(this.stream.prefix(partition));
      lane = { partition, keys, id: newId(), sequence: 0, waiting: [], busy: false };
      this.lanes.set(partition, lane);
    }
    const { waiting } = lane;
    return new Promise((done, failed) => {
      waiting.push({ entry, done, failed });
      if (!lane.busy) void this.pump(lane);
    });
  }

  private async pump(lane: Lane): Promise<void> {
    lane.busy = true;
    await Promise.resolve(); // What is sent in the same turn goes into one append.
    while (lane.waiting.length > 0) {
      const batch = this.next(lane);
      const until = now() + this.options.deliveryTimeout;
      try {
        await this.declare(until);
        const ids = await this.append(lane, batch.map((each) => each.entry), until);
        batch.forEach((each, i) => each.done(ids[i]!));
      } catch (error) {
        lane.id = newId(); // Whatever became of it, that number is spent.
        lane.sequence = 0;
        batch.forEach((each) => each.failed(error));
      }
    }
    lane.busy = false;
  }

  private next(lane: Lane): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { entry } of lane.waiting) {
      bytes += entry.reduce((sum, each) => sum + each.length, 0);
      if (count > 0 && (bytes > MOST_BYTES || count >= Math.min(MOST_ENTRIES, this.stream.size - 1))) break;
      count += 1;
    }
    return lane.waiting.splice(0, count);
  }

  private async append(lane: Lane, entries: Entry[], until: number): Promise<string[]> {
    const { log, meta, producers } = lane.keys;
    const whenFull = this.options.whenFull === 'drop_oldest' ? 'drop_oldest' : 'refuse';
    lane.sequence += 1;
    for (let pause = 20; ; pause = Math.min(2 * pause, 500)) {
      const args = [PROTOCOL, this.stream.partitions, HASH, this.stream.size, whenFull, lane.id, lane.sequence, ...flat(entries)];
      try {
        const [, first, count] = await this.link.call('append', [log, meta, producers], args, until);
        return idsFrom(asText(first), asNumber(count));
      } catch (error) {
        if (refusedWith(error, 'FULL')) await this.full(error, pause, until);
        else if (refusedWith(error, 'OVERDUE')) await this.promote(lane, whenFull, pause, until);
        else if (refusedWith(error, 'MISSING')) await this.declareAgain(lane, until);
        else if (refusedWith(error, 'UNKNOWN_PRODUCER')) {
          await this.declareAgain(lane, until);
          this.anew(lane);
        } else if (refusedWith(error, 'OUTOFORDER') && Number(error.details['last']) < lane.sequence - 1) {
          this.options.warn(`stream ${this.stream.name}, partition ${lane.partition}: a failover has lost events that were acknowledged`);
          this.anew(lane);
        } else throw error;
      }
    }
  }

  /** Events that are due enter the log before what is sent now. */
  private async promote(lane: Lane, whenFull: string, pause: number, until: number): Promise<void> {
    const { log, meta, delayed } = lane.keys;
    try {
      await this.link.call('promote', [log, meta, delayed], [PROTOCOL, this.stream.partitions, HASH, this.stream.size, whenFull], until);
    } catch (error) {
      if (!refusedWith(error, 'FULL')) throw error;
      await this.full(error, pause, until);
    }
  }

  private anew(lane: Lane): void {
    lane.id = newId();
    lane.sequence = 1;
  }

  private async full(error: Refused, pause: number, until: number): Promise<void> {
    const name = error.details['processor'];
    const why = name ? `the processor ${name} has not committed its oldest events` : 'no processor is registered to read it';
    if (this.options.whenFull !== 'wait' || now() + pause > until) {
      throw new FullError(`stream ${this.stream.name} is full: ${why}; nothing was sent`, { cause: error });
    }
    await sleep(pause);
  }

  private declare(until: number): Promise<unknown> {
    this.declared ??= this.declareOne(0, until).catch((error: unknown) => {
      this.declared = undefined;
      throw error;
    });
    return this.declared;
  }

  private async declareAgain(lane: Lane, until: number): Promise<void> {
    await this.declareOne(0, until);
    if (lane.partition > 0) await this.declareOne(lane.partition, until);
  }

  private declareOne(partition: number, until: number): Promise<unknown> {
    const { meta } = new PartitionKeys(this.stream.prefix(partition));
    return this.link.call('declare', [meta], [PROTOCOL, this.stream.partitions, HASH], until);
  }
}

const newId = (): string => randomBytes(16).toString('hex');
