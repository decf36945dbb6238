// What the owner of a partition knows of its processor's outbox: which entries wait, and for what. No I/O.
//
// Entries go to their targets, which are partitions of other streams: for each target in order, and for all independently of
// one another. They leave the outbox in order.
import type { Entry } from './codec.js';
import type { Sink } from './effects.js';
import { ConfigError, Refused } from './errors.js';
import { checkName, prefixOf } from './keys.js';

/** Entries and bytes of one append, and bytes in memory beyond which nothing more is read. */
const BATCH = { entries: 500, bytes: 1_000_000 };
const ROOM = 16_000_000;
/** Entries that one read brings. */
export const PAGE = 100;

/** An entry of the outbox; or entries that were lost, without a sink. When it leaves, `number` is the new `outbox_done`. */
interface Waiting {
  readonly id: string;
  readonly number: number;
  lost: number;
  readonly sink?: Sink;
  readonly whenFull: string;
  readonly entry: Entry;
  readonly size: number;
  forwarded: boolean;
}

/** A partition of another stream, with the entries that wait for it, and why the last append failed, if it did. */
export interface OutboxTarget {
  readonly sink: Sink;
  readonly queue: Waiting[];
  busy: boolean;
  full: string;
  limit: number;
}

export interface Trim {
  readonly last: string;
  readonly done: number;
  readonly lost: number;
  readonly waitsFor: string;
  readonly reason: string;
}

export class Outbox {
  /** The id after which the next read begins. */
  after = '0-0';
  readonly targets = new Map<string, OutboxTarget>();
  private readonly waiting: Waiting[] = [];
  /** The largest number that was read or found to be lost; undefined before the first read. */
  private seen: number | undefined;
  /** `outbox_last` of the read before: entries up to it exist, or are lost. */
  private last = 0;
  private done = 0;
  private writes = 0;
  private knownWrites = 0;
  private held = 0;
  private waitsFor = '';

  constructor(private readonly app: string) {}

  /** A commit has written to it, or a claim says that something waits. */
  wrote(): void {
    this.writes += 1;
  }

  get wantsRead(): boolean {
    return this.writes !== this.knownWrites && this.held < ROOM;
  }

  /** Has all that was written left the outbox? */
  get isEmpty(): boolean {
    return this.waiting.length === 0 && this.writes === this.knownWrites;
  }

  /** Do all entries that were read wait for targets that took none last time? */
  get isStuck(): boolean {
    const left = [...this.targets.values()].filter((each) => each.queue.length > 0);
    return !this.wantsRead && left.length > 0 && left.every((each) => each.full !== '');
  }

  /** The next read begins. Returns what `takeIn` needs. */
  beginRead(): number {
    return this.writes;
  }

  /** Take in the entries after `after`, and `outbox_last` and `outbox_done`, which were read behind them.
   *
   * Throws Refused if the server has lost commits, ConfigError if nobody can tell where an entry goes. */
  takeIn(entries: readonly [Buffer, Buffer[]][], last: number, done: number, writes: number): void {
    this.seen ??= this.done = done;
    if (last < this.seen) throw new Refused(`CONFLICT outbox_last=${last}`);
    for (const [id, fields] of entries) this.add(id.toString(), fields, last);
    const more = entries.length >= PAGE;
    if (!more && this.last > this.seen) {
      // The end was read, and what was there before this read is not.
      this.waiting.push({ id: '', number: this.last, lost: this.last - this.seen, whenFull: '', entry: [], size: 0, forwarded: true });
      this.seen = this.last;
    }
    this.last = last;
    if (!more && last <= this.seen) this.knownWrites = writes;
  }

  private add(id: string, fields: Buffer[], last: number): void {
    const number = Number(id.split('-')[1]);
    const { sink, whenFull } = sinkAt(this.app, id, fields);
    let lost = 0;
    // Entries with other numbers are of a state that was lost.
    if (this.seen! < number && number <= last) [lost, this.seen] = [number - this.seen! - 1, number];
    const entry = fields.slice(2);
    const size = entry.reduce((sum, each) => sum + each.length, 100);
    const waiting = { id, number: this.seen!, lost, sink, whenFull, entry, size, forwarded: false };
    let target = this.targets.get(sink.prefix);
    if (target === undefined) this.targets.set(sink.prefix, (target = { sink, queue: [], busy: false, full: '', limit: BATCH.entries }));
    target.queue.push(waiting);
    this.waiting.push(waiting);
    this.held += size;
    this.after = id;
  }

  /** The next entries for a target that one append takes. */
  batch(target: OutboxTarget): Waiting[] {
    const first = target.queue[0]!;
    const found: Waiting[] = [];
    let size = 0;
    for (const each of target.queue) {
      const other = each.sink!.size !== first.sink!.size || each.sink!.partitions !== first.sink!.partitions || each.whenFull !== first.whenFull;
      if (found.length > 0 && (other || size + each.size > BATCH.bytes)) break;
      if (found.length >= Math.min(target.limit, first.sink!.size - 1)) break;
      found.push(each);
      size += each.size;
    }
    return found;
  }

  /** The target has these entries, but for the first `lost` of them, which are nowhere. */
  forwarded(target: OutboxTarget, batch: readonly Waiting[], lost: number): void {
    target.full = '';
    target.limit = Math.min(2 * target.limit, BATCH.entries);
    target.queue.splice(0, batch.length).forEach((each, i) => {
      this.held -= each.size;
      each.forwarded = true;
      if (i < lost && each.id.endsWith(`-${each.number}`)) each.lost += 1;
    });
  }

  /** The target has no room for so many entries. Returns whether it may have room for fewer. */
  noRoom(target: OutboxTarget, count: number, reason: string): boolean {
    target.limit = Math.max(1, count >> 1);
    if (count === 1) target.full = reason;
    return count > 1;
  }

  /** What to remove and to report now, if anything. */
  nextTrim(): Trim | undefined {
    let last = '0-0';
    let number: number | undefined;
    let lost = 0;
    let count = 0;
    for (; this.waiting[count]?.forwarded === true; count++) {
      const each = this.waiting[count]!;
      last = each.id || last;
      number = each.number;
      lost += each.lost;
    }
    this.waiting.splice(0, count);
    const full = this.waiting.map((each) => this.targets.get(each.sink?.prefix ?? '')).find((each) => each !== undefined && each.full !== '');
    const waitsFor = full?.sink.stream ?? '';
    if (number === undefined && waitsFor === this.waitsFor) return undefined;
    this.waitsFor = waitsFor;
    this.done = number ?? this.done;
    return { last, done: this.done, lost, waitsFor, reason: full?.full ?? '' };
  }
}

/** The sink that the pair `to` names: STREAM PARTITION PARTITIONS HASH SIZE, then drop_unread if that is its when_full. */
function sinkAt(app: string, id: string, fields: readonly Buffer[]): { sink: Sink; whenFull: string } {
  const address = fields[0]?.toString() === 'to' ? fields[1]!.toString() : '';
  const [stream = '', partition, partitions, hash, size = '', how = 'refuse', ...rest] = address.split(' ');
  const numbers = [partition, partitions, size.split(',')[0]];
  if (rest.length > 0 || hash !== 'xxh64' || !['refuse', 'drop_unread'].includes(how) || !numbers.every((each) => /^\d+$/.test(each ?? ''))) {
    throw new ConfigError(`the entry ${id} of an outbox does not say where it goes: ${JSON.stringify(address.slice(0, 200))}`);
  }
  const prefix = prefixOf(app, checkName('stream', stream), Number(partition), stream);
  const sink = { prefix, stream, partition: Number(partition), partitions: Number(partitions), size: Number(numbers[2]), derived: false };
  return { sink, whenFull: how };
}
