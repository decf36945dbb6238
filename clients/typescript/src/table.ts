// Tables of a partition: what a handler sees of them, and what is remembered of what was read and written.
import { parseJson, stringifyJson } from './codec.js';
import { type Effects, fieldName, type Step } from './effects.js';
import { EncodeError } from './errors.js';
import type { Link } from './link.js';
import type { PartitionKeys } from './keys.js';
import { type Key, keyBytes } from './routing.js';

/** A table of the stream that a processor writes. */
export interface TableOptions {
  readonly name: string;
  /** Milliseconds, in whole seconds, after which a key that no commit has written is removed by a later commit. */
  readonly expire?: number;
}

/** Fields, and bytes of their values, that are remembered. */
const MOST_KNOWN = 20_000;
const MOST_BYTES = 32_000_000;

/** The values of one lease: those that were committed, and those that finished events have written since. */
export class TableCache {
  private readonly known = new Map<string, Buffer | null>();
  private bytes = 0;

  constructor(private readonly link: Link, private readonly keys: PartitionKeys) {}

  /** The value of a field; null if there is none. */
  readonly read = async (table: string, field: Buffer): Promise<Buffer | null> => {
    const name = fieldName(table, field);
    const known = this.known.get(name);
    if (known !== undefined) return known;
    const key = this.keys.table(table);
    const found = await this.link.ask(key, (redis) => redis.hgetBuffer(key, field));
    if (!this.known.has(name)) this.remember(name, found);
    return this.known.get(name) ?? null;
  };

  /** A finished event has written. What `waiting` commits have written stays known. */
  wrote(effects: Effects, waiting: readonly Step[]): void {
    if (effects.content === undefined) return;
    for (const [name, { value }] of effects.content.writes) this.remember(name, value);
    if (this.known.size <= MOST_KNOWN && this.bytes <= MOST_BYTES) return;
    for (const name of [...this.known.keys()]) {
      if (this.known.size <= MOST_KNOWN / 2 && this.bytes <= MOST_BYTES / 2) return;
      if (!waiting.some((each) => each.writes.has(name))) this.forget(name);
    }
  }

  clear(): void {
    this.known.clear();
    this.bytes = 0;
  }

  private remember(name: string, value: Buffer | null): void {
    this.forget(name);
    this.known.set(name, value);
    this.bytes += value?.length ?? 0;
  }

  private forget(name: string): void {
    this.bytes -= this.known.get(name)?.length ?? 0;
    this.known.delete(name);
  }
}

/** A map of the partition, as one event sees it. Values are JSON; integers beyond 2^53 are bigints. */
export class Table {
  constructor(
    private readonly name: string,
    private readonly effects: Effects,
    private readonly read: (table: string, field: Buffer) => Promise<Buffer | null>,
  ) {}

  /** The value of a key: what this event wrote, else what was last written. Undefined if there is none. */
  async get<V = unknown>(key: Key): Promise<V | undefined> {
    const field = Buffer.from(keyBytes(key));
    const own = this.effects.written(fieldName(this.name, field));
    const found = own !== undefined ? own.value : await this.read(this.name, field);
    return found === null ? undefined : (parseJson(found) as V);
  }

  /** Write a value, with the commit of the event. */
  set(key: Key, value: unknown): void {
    const written = stringifyJson(value);
    if (written === undefined) throw new EncodeError(`table ${this.name}: ${String(value)} has no JSON form`);
    this.effects.put(this.name, Buffer.from(keyBytes(key)), Buffer.from(written));
  }

  /** Delete a key, with the commit of the event. */
  delete(key: Key): void {
    this.effects.put(this.name, Buffer.from(keyBytes(key)), null);
  }
}
