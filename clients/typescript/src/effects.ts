// What a handler writes besides the checkpoint, until the commit of its event: tables and entries of other streams.
import { encodeEntry, type Entry, type Headers } from './codec.js';
import { EncodeError, TooManyWrites } from './errors.js';
import { PartitionKeys, prefixOf } from './keys.js';
import type { Arg } from './link.js';
import { HASH, type Key, keyBytes } from './routing.js';
import { PROTOCOL } from './scripts.js';

/** Limits of one commit: see lua/clients.md. */
const MOST = { fields: 1000, entries: 200, targets: 50, bytes: 4_000_000 };

/** A partition of a stream to which commits write. */
export interface Sink {
  readonly prefix: string;
  readonly partitions: number;
  readonly size: number;
  /** Is it in the slot of the processor's own partition, because its stream is derived from the same source? */
  readonly derived: boolean;
}

/** What the effects need of a stream. */
export interface Target {
  readonly name: string;
  readonly source: string;
  readonly partitions: number;
  readonly size: number;
  readonly app: { readonly name: string };
  checked(record: unknown): unknown;
  partitionOf(record: never): number;
}

interface Write {
  readonly table: string;
  readonly field: Buffer;
  readonly value: Buffer | null;
}

/** The effects of one event. Once it is closed, nothing more is added: its handler was given up. */
export class Effects {
  readonly writes = new Map<string, Write>();
  readonly emits: { sink: Sink; entry: Entry }[] = [];
  readonly parked: Entry[] = [];
  readonly replayed: string[] = [];
  closed = false;
  bytes = 0;

  put(table: string, field: Buffer, value: Buffer | null): void {
    this.open();
    const name = `${table} ${field.toString('hex')}`;
    this.bytes += field.length + (value?.length ?? 0) - (this.writes.get(name)?.value?.length ?? 0);
    this.writes.set(name, { table, field, value });
    this.check();
  }

  emit(sink: Sink, entry: Entry): void {
    this.open();
    this.emits.push({ sink, entry });
    this.bytes += entry.reduce((sum, each) => sum + each.length, 0);
    this.check();
  }

  get isEmpty(): boolean {
    return this.writes.size === 0 && this.emits.length === 0 && this.parked.length === 0 && this.replayed.length === 0;
  }

  private open(): void {
    if (this.closed) throw new Error('this event is over: nothing that is still written for it would be stored');
  }

  private check(): void {
    if (!new Step().add(this)) throw new TooManyWrites('one event writes more than one commit may hold: see "Limits" in lua/clients.md');
  }
}

/** What one commit carries: the effects of one event, or of several in a row. */
export class Step {
  end = '';
  count = 0;
  private readonly writes = new Map<string, Write>();
  private readonly sinks = new Map<string, { sink: Sink; entries: Entry[] }>();
  private readonly parked: Entry[] = [];
  private readonly replayed: string[] = [];
  private entries = 0;
  private bytes = 0;

  /** Add the effects of a further event. Returns false, and adds nothing, if one commit could not hold them. */
  add(more: Effects): boolean {
    if (more.isEmpty) return true;
    const writes = new Set([...this.writes.keys(), ...more.writes.keys()]).size;
    const tables = new Set([...this.writes.values(), ...more.writes.values()].map((each) => each.table)).size;
    const sinks = new Map([...this.sinks].map(([prefix, each]) => [prefix, each.entries.length]));
    for (const { sink } of more.emits) sinks.set(sink.prefix, (sinks.get(sink.prefix) ?? 0) + 1);
    const tooLong = more.emits.some(({ sink }) => sinks.get(sink.prefix)! >= sink.size);
    const parked = this.parked.length + more.parked.length;
    const replayed = this.replayed.length + more.replayed.length;
    if (
      writes > MOST.fields || tables + sinks.size > MOST.targets || tooLong || this.entries + more.emits.length > MOST.entries ||
      this.bytes + more.bytes > MOST.bytes || parked > MOST.entries || replayed > MOST.entries || (parked > 0 && replayed > 0)
    ) {
      return false;
    }
    for (const [name, each] of more.writes) this.writes.set(name, each);
    for (const { sink, entry } of more.emits) {
      const found = this.sinks.get(sink.prefix) ?? { sink, entries: [] };
      this.sinks.set(sink.prefix, found);
      found.entries.push(entry);
    }
    this.entries += more.emits.length;
    this.bytes += more.bytes;
    this.parked.push(...more.parked);
    this.replayed.push(...more.replayed);
    return true;
  }

  get hasEffects(): boolean {
    return this.writes.size > 0 || this.sinks.size > 0 || this.parked.length > 0 || this.replayed.length > 0;
  }

  get replays(): boolean {
    return this.replayed.length > 0;
  }

  /** The sink with this log, to declare it. */
  sinkOf(log: string): Sink | undefined {
    return [...this.sinks.values()].find(({ sink }) => new PartitionKeys(sink.prefix).log === log)?.sink;
  }

  /** KEYS and ARGV of `transact` behind those of `commit`. */
  call(of: PartitionKeys, parkLimit: number): { keys: string[]; args: Arg[] } {
    const keys: string[] = [];
    const args: Arg[] = [];
    for (const table of new Set([...this.writes.values()].map((each) => each.table))) {
      const all = [...this.writes.values()].filter((each) => each.table === table);
      const sets = all.filter((each) => each.value !== null);
      const deletes = all.filter((each) => each.value === null);
      keys.push(of.table(table));
      args.push('table', sets.length, deletes.length);
      for (const { field, value } of sets) args.push(field, value!);
      for (const { field } of deletes) args.push(field);
    }
    for (const { sink, entries } of this.sinks.values()) {
      const { log, meta } = new PartitionKeys(sink.prefix);
      keys.push(log, meta);
      args.push(sink.derived ? 'derived' : 'stream', sink.size, 'refuse', entries.length);
      if (!sink.derived) args.push(PROTOCOL, sink.partitions, HASH);
      args.push(...flat(entries));
    }
    if (this.parked.length > 0) {
      keys.push(of.parked, of.parkedKeys);
      args.push('park', parkLimit, this.parked.length, ...flat(this.parked));
    }
    if (this.replayed.length > 0) {
      keys.push(of.parked, of.parkedKeys, of.replay);
      args.push('replayed', this.replayed.length, ...this.replayed);
    }
    return { keys, args };
  }
}

/** Entries as a script takes them: the number of values, then fields and values in turn. */
export const flat = (entries: readonly Entry[]): Arg[] => entries.flatMap((each) => [each.length, ...each]);

/** The sink and the entry for a record that is emitted while an event of this partition is processed. */
export function emitted(
  target: Target, record: unknown, headers: Headers | undefined, own: { source: string; partition: number; partitions: number },
): { sink: Sink; entry: Entry } {
  const checked = target.checked(record);
  const partition = target.partitionOf(checked as never);
  const derived = target.source === own.source && target.source !== target.name;
  if (derived && partition !== own.partition) {
    throw new EncodeError(`${target.name} is derived from ${own.source}: the record must have the key of its event`);
  }
  const prefix = prefixOf(target.app.name, target.source, partition, target.name);
  return { sink: { prefix, partitions: target.partitions, size: target.size, derived }, entry: encodeEntry(checked, headers) };
}

/** A map of the partition, as one event sees it. Values are JSON. */
export class Table {
  constructor(
    private readonly name: string,
    private readonly effects: Effects,
    private readonly read: (table: string, field: Buffer) => Promise<Buffer | null>,
  ) {}

  /** The value of a key: what this event wrote, else what was last written. Undefined if there is none. */
  async get<V = unknown>(key: Key): Promise<V | undefined> {
    const field = Buffer.from(keyBytes(key));
    const own = this.effects.writes.get(`${this.name} ${field.toString('hex')}`);
    const found = own !== undefined ? own.value : await this.read(this.name, field);
    return found === null ? undefined : (JSON.parse(found.toString()) as V);
  }

  /** Write a value, with the commit of the event. */
  set(key: Key, value: unknown): void {
    const written = JSON.stringify(value);
    if (written === undefined) throw new EncodeError(`table ${this.name}: ${String(value)} has no JSON form`);
    this.effects.put(this.name, Buffer.from(keyBytes(key)), Buffer.from(written));
  }

  /** Delete a key, with the commit of the event. */
  delete(key: Key): void {
    this.effects.put(this.name, Buffer.from(keyBytes(key)), null);
  }
}
