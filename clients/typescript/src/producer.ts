// Sends to the partitions of one stream: in order, one call in flight for each partition, each entry once.
import { randomBytes } from 'node:crypto';

import { Appender, declare, type Destination, type Sending } from './appender.js';
import type { Entry } from './codec.js';
import { flat } from './effects.js';
import type { Refused } from './errors.js';
import { idsFrom } from './ids.js';
import { asNumber, asText, now } from './link.js';
import { PartitionKeys } from './keys.js';
import { mayRun } from './preflight.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';

/** Entries and bytes of one append. */
export const BATCH = { entries: 500, bytes: 1_000_000 };

/** When an event is due, as a script takes it. */
export interface Due {
  readonly kind: 'at' | 'delay';
  readonly ms: number;
}

/** How entries are sent. */
export interface Way {
  readonly dropOldest: boolean;
  /** Milliseconds to wait for room. */
  readonly wait: number;
  /** A key under which the one entry is sent once, and for how many milliseconds it is remembered. */
  readonly once?: { readonly key: string; readonly window: number };
  readonly due?: Due;
}

/** What became of an entry: its id, or for a delayed one the due time in ms and its order number. */
export type Receipt = string | { readonly due: number; readonly order: string };

/** Jobs of one call of `sendMany`. Once one has failed, those behind it on the same partition are not sent. */
export type Bulk = Map<number, unknown>;

interface Job {
  readonly bulk?: Bulk;
  readonly entries: readonly Entry[];
  readonly way: Way;
  readonly since: number;
  readonly done: (receipts: Receipt[]) => void;
  readonly failed: (error: unknown) => void;
}

/** Sends to one stream. */
export class Producer {
  private readonly lanes = new Map<number, Lane>();
  private declared: Promise<unknown> | undefined;

  constructor(private readonly sending: Sending, private readonly stream: Destination) {}

  /** Send entries to a partition, behind those that were given before. Returns a receipt for each. */
  send(partition: number, entries: readonly Entry[], way: Way, bulk?: Bulk): Promise<Receipt[]> {
    let lane = this.lanes.get(partition);
    if (lane === undefined) {
      lane = new Lane(new Appender(this.sending, this.stream, partition), () => this.declare());
      this.lanes.set(partition, lane);
    }
    const found = lane;
    return new Promise((done, failed) => found.add({ entries, way, since: now(), done, failed, ...(bulk ? { bulk } : {}) }));
  }

  /** Declare partition 0, once. */
  declare(): Promise<unknown> {
    this.declared ??= this.begin().catch((error: unknown) => {
      this.declared = undefined;
      throw error;
    });
    return this.declared;
  }

  private async begin(): Promise<void> {
    const { sending, stream } = this;
    const { prefix, meta, log, producers, delayed } = new PartitionKeys(stream.prefix(0));
    const app = prefix.slice(prefix.indexOf('{') + 1).split(':')[0]!;
    const uses = [
      { script: 'declare', keys: [meta] },
      { script: 'append', keys: [log, meta, producers] },
      { script: 'promote', keys: [log, meta, delayed] },
    ];
    await mayRun(sending.link, app, log, uses, now() + sending.deliveryTimeout);
    await declare(sending, stream, 0);
  }
}

/** One partition: what waits to be sent there, and the numbering of its appends. */
class Lane {
  private readonly waiting: Job[] = [];
  private id = newId();
  private sequence = 0;
  private busy = false;

  constructor(private readonly appender: Appender, private readonly declare: () => Promise<unknown>) {}

  add(job: Job): void {
    this.waiting.push(job);
    if (!this.busy) void this.pump();
  }

  private async pump(): Promise<void> {
    this.busy = true;
    await Promise.resolve(); // What is sent in the same turn goes into one append.
    while (this.waiting.length > 0) {
      const jobs = this.next();
      const { bulk } = jobs[0]!;
      const { partition } = this.appender;
      try {
        if (bulk?.has(partition)) throw bulk.get(partition);
        await this.declare();
        const receipts = await this.carryOut(jobs);
        let at = 0;
        for (const each of jobs) each.done(receipts.slice(at, (at += each.entries.length)));
      } catch (error) {
        this.anew(0); // Whatever became of it, that number is spent.
        for (const each of jobs) each.bulk?.set(partition, error);
        for (const each of jobs) each.failed(error);
      }
    }
    this.busy = false;
  }

  /** The next jobs, as many as go into one call. */
  private next(): Job[] {
    const first = this.waiting[0]!;
    const most = Math.min(BATCH.entries, this.appender.stream.size - 1);
    let [bytes, entries, count] = [0, 0, 0];
    for (const { entries: more, way, bulk } of this.waiting) {
      bytes += sizeOf(more);
      entries += more.length;
      const alone = way.once !== undefined || way.due !== undefined;
      const other = way.dropOldest !== first.way.dropOldest || way.wait !== first.way.wait || bulk !== first.bulk;
      if (count > 0 && (alone || other || bytes > BATCH.bytes || entries > most)) break;
      count += 1;
      if (alone) break;
    }
    return this.waiting.splice(0, count);
  }

  private carryOut(jobs: readonly Job[]): Promise<Receipt[]> {
    const { way, since, entries } = jobs[0]!;
    const patience = { dropOldest: way.dropOldest, waitUntil: since + way.wait };
    const { appender } = this;
    if (way.due !== undefined) return this.later(entries, way, patience.waitUntil);
    if (way.once === undefined) return this.append(jobs.flatMap((each) => [...each.entries]), patience);
    const { key, window } = way.once;
    const { log, meta } = appender.keys;
    const args = [...appender.head(patience), window, ...flat(entries)];
    return appender.call('append_once', [log, meta, appender.keys.dedupe(key)], () => args, patience).then(([, id]) => [asText(id)]);
  }

  private async append(entries: readonly Entry[], patience: { dropOldest: boolean; waitUntil: number }): Promise<string[]> {
    const { appender } = this;
    const { log, meta, producers } = appender.keys;
    const sent = flat(entries);
    this.sequence += 1;
    const args = (): ReturnType<typeof flat> => [...appender.head(patience), this.id, this.sequence, ...sent];
    const [, first, count] = await appender.call('append', [log, meta, producers], args, patience, { meet: (refusal) => this.meet(refusal) });
    return idsFrom(asText(first), asNumber(count));
  }

  /** The partition does not know the numbers of this producer any more. */
  private async meet(refusal: Refused): Promise<boolean> {
    const { stream, partition, sending } = this.appender;
    if (refusal.word === 'UNKNOWN_PRODUCER') await this.appender.declareAgain();
    else if (Number(refusal.details['last']) < this.sequence - 1) {
      sending.warn(`stream ${stream.name}, partition ${partition}: a failover has LOST events that were acknowledged`);
    } else return false;
    this.anew(1);
    return true;
  }

  private anew(sequence: number): void {
    this.id = newId();
    this.sequence = sequence;
  }

  /** Keep entries until they are due, under a request of their own. */
  private async later(entries: readonly Entry[], { due, once, dropOldest }: Way, waitUntil: number): Promise<Receipt[]> {
    const { appender } = this;
    const { stream, sending, keys } = appender;
    // The repeat of a call that got no answer must find its request.
    const { key, window } = once ?? { key: newId(), window: Math.max(1000, 2 * sending.deliveryTimeout) };
    const args = [PROTOCOL, stream.partitions, HASH, stream.size, due!.kind, due!.ms, window, ...flat(entries)];
    const [, at, first, count] = await appender.call('append_later', [keys.meta, keys.delayed, keys.request(key)], () => args, { dropOldest, waitUntil });
    return Array.from({ length: asNumber(count) }, (_, i) => ({ due: asNumber(at), order: String(BigInt(asText(first)) + BigInt(i)) }));
  }
}

export const sizeOf = (entries: readonly Entry[]): number => entries.reduce((sum, entry) => entry.reduce((all, each) => all + each.length, sum), 0);

const newId = (): string => randomBytes(16).toString('hex');
