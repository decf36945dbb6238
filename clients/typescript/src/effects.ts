// What a handler writes besides the checkpoint, until the commit of its event: tables and entries of other streams.
import { encodeEntry, type Entry, type Headers } from './codec.js';
import { ConfigError, EncodeError, TooManyWrites } from './errors.js';
import { prefixOf } from './keys.js';
import type { Arg } from './link.js';
import { HASH } from './routing.js';

/** Limits of one commit: see lua/clients.md. */
const MOST = { fields: 1000, entries: 200, targets: 50, bytes: 4_000_000 };

/** A partition of a stream to which commits write. */
export interface Sink {
  readonly prefix: string;
  readonly stream: string;
  readonly partition: number;
  readonly partitions: number;
  readonly size: number;
  /** Is it in the slot of the processor's own partition, because its stream is derived from the same source? */
  readonly derived: boolean;
}

/** The text in an outbox that says where an entry goes. */
export const addressOf = ({ stream, partition, partitions, size }: Sink): string => `${stream} ${partition} ${partitions} ${HASH} ${size}`;

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

export interface Write {
  readonly table: string;
  readonly field: Buffer;
  readonly value: Buffer | null;
}

/** The name of a field of a table among all of them. */
export const fieldName = (table: string, field: Buffer): string => `${table} ${field.toString('latin1')}`;

/** How much a commit would write. */
interface Totals {
  fields: number;
  /** Tables, and entries for each sink. */
  readonly tables: Set<string>;
  readonly sinks: Map<string, number>;
  entries: number;
  bytes: number;
}

function isTooMuch({ fields, tables, sinks, entries, bytes }: Totals): boolean {
  return fields > MOST.fields || tables.size + sinks.size > MOST.targets || entries > MOST.entries || bytes > MOST.bytes;
}

/** What an event has written. */
class Content {
  readonly writes = new Map<string, Write>();
  readonly emits: { sink: Sink; entry: Entry }[] = [];
  readonly parked: Entry[] = [];
  readonly replayed: string[] = [];
  readonly totals: Totals = { fields: 0, tables: new Set(), sinks: new Map(), entries: 0, bytes: 0 };
}

/** The effects of one event. Once it is closed, nothing more is added: its handler was given up. */
export class Effects {
  closed = false;
  /** Undefined for most events, which write nothing. */
  content: Content | undefined;

  put(table: string, field: Buffer, value: Buffer | null): void {
    const { writes, totals } = this.open();
    const name = fieldName(table, field);
    totals.bytes += field.length + (value?.length ?? 0) - (writes.get(name)?.value?.length ?? 0);
    writes.set(name, { table, field, value });
    totals.fields = writes.size;
    totals.tables.add(table);
    check(totals);
  }

  emit(sink: Sink, entry: Entry): void {
    const { emits, totals } = this.open();
    emits.push({ sink, entry });
    totals.entries = emits.length;
    totals.bytes += entry.reduce((sum, each) => sum + each.length, 0);
    const there = (totals.sinks.get(sink.prefix) ?? 0) + 1;
    totals.sinks.set(sink.prefix, there);
    check(totals, there >= sink.size);
  }

  park(entry: Entry): void {
    this.made().parked.push(entry);
  }

  /** An entry of the parked events is finished after all. */
  replayed(entry: string): void {
    this.made().replayed.push(entry);
  }

  /** What was written to this field, if anything was. */
  written(name: string): Write | undefined {
    return this.content?.writes.get(name);
  }

  private open(): Content {
    if (this.closed) throw new ConfigError('this event is over: nothing that is still written for it would be stored');
    return this.made();
  }

  private made(): Content {
    return (this.content ??= new Content());
  }
}

function check(totals: Totals, neverFits = false): void {
  if (neverFits || isTooMuch(totals)) throw new TooManyWrites('one event writes more than one commit may hold: see "Limits" in lua/clients.md');
}

/** What one commit carries: the effects of one event, or of several in a row. */
export class Step {
  end = '';
  count = 0;
  readonly writes = new Map<string, Write>();
  readonly sinks = new Map<string, { sink: Sink; entries: Entry[] }>();
  readonly parked: Entry[] = [];
  readonly replayed: string[] = [];
  private readonly totals: Totals = { fields: 0, tables: new Set(), sinks: new Map(), entries: 0, bytes: 0 };

  /** Add the effects of a further event. Returns false, and adds nothing, if one commit could not hold them. */
  add({ content: more }: Effects): boolean {
    if (more === undefined) return true;
    if (this.hasEffects && !this.fits(more)) return false;
    const { totals } = this;
    for (const [name, each] of more.writes) {
      this.writes.set(name, each);
      totals.tables.add(each.table);
    }
    totals.fields = this.writes.size;
    for (const { sink, entry } of more.emits) {
      const found = this.sinks.get(sink.prefix) ?? { sink, entries: [] };
      this.sinks.set(sink.prefix, found);
      found.entries.push(entry);
      totals.sinks.set(sink.prefix, found.entries.length);
    }
    totals.entries += more.emits.length;
    totals.bytes += more.totals.bytes;
    this.parked.push(...more.parked);
    this.replayed.push(...more.replayed);
    return true;
  }

  private fits(more: Content): boolean {
    const { totals } = this;
    let fields = totals.fields;
    for (const name of more.writes.keys()) if (!this.writes.has(name)) fields += 1;
    const tables = more.totals.tables.size === 0 ? totals.tables : new Set([...totals.tables, ...more.totals.tables]);
    const sinks = more.totals.sinks.size === 0 ? totals.sinks : new Map(totals.sinks);
    for (const { sink } of more.emits) {
      const entries = (sinks.get(sink.prefix) ?? 0) + 1;
      if (entries >= sink.size) return false;
      sinks.set(sink.prefix, entries);
    }
    const parked = this.parked.length + more.parked.length;
    const replayed = this.replayed.length + more.replayed.length;
    const sum = { fields, tables, sinks, entries: totals.entries + more.emits.length, bytes: totals.bytes + more.totals.bytes };
    return !isTooMuch(sum) && parked <= MOST.entries && replayed <= MOST.entries && (parked === 0 || replayed === 0);
  }

  get hasEffects(): boolean {
    return this.writes.size > 0 || this.sinks.size > 0 || this.parked.length > 0 || this.replayed.length > 0;
  }

  get replays(): boolean {
    return this.replayed.length > 0;
  }

  /** Does it add entries to streams that may be in other slots? */
  get emits(): boolean {
    return [...this.sinks.values()].some(({ sink }) => !sink.derived);
  }
}

/** Entries as a script takes them: the number of values, then fields and values in turn. */
export const flat = (entries: readonly Entry[]): Arg[] => entries.flatMap((each) => [each.length, ...each]);

/** The sink and the entry for a record that is emitted while an event of this partition is processed. */
export function emitted(
  target: Target, record: unknown, headers: Headers | undefined, own: { app: string; source: string; partition: number },
): { sink: Sink; entry: Entry } {
  if (target.app.name !== own.app) throw new ConfigError(`the stream ${target.name} belongs to another app: send to it, instead of emitting`);
  const checked = target.checked(record);
  const partition = target.partitionOf(checked as never);
  const derived = target.source === own.source && target.source !== target.name;
  if (derived && partition !== own.partition) {
    throw new EncodeError(`${target.name} is derived from ${own.source}: the record must have the key of its event`);
  }
  const prefix = prefixOf(target.app.name, target.source, partition, target.name);
  const sink = { prefix, stream: target.name, partition, partitions: target.partitions, size: target.size, derived };
  return { sink, entry: encodeEntry(checked, headers) };
}
