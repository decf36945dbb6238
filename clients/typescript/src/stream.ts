// A named, typed, partitioned log of events.
import type { App } from './app.js';
import { decodeEntry, encodeEntry, type Headers } from './codec.js';
import { ConfigError, DecodeError, EncodeError } from './errors.js';
import { checkName, prefixOf } from './keys.js';
import { type Key, partitionOf } from './routing.js';

/** A validator of the user's choice: zod, valibot, arktype and others have this form (Standard Schema). */
export interface StandardSchema<Output> {
  readonly '~standard': {
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
  };
}
type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined }[] };

export interface StreamOptions<R> {
  /** The field that has the key of a record, or a function of a record. */
  readonly partitionBy: (keyof R & string) | ((record: R) => Key);
  /** Partitions of the stream: the same number in every client. Default 16. */
  readonly partitions?: number;
  /** Entries that a partition may hold. Default 50,000. */
  readonly size?: number;
  /** Checks each record before it is sent, and each that is read. It must not be asynchronous. */
  readonly schema?: StandardSchema<R>;
}

/** The largest encoded record, in bytes. */
const MOST_BYTES = 1_048_576;

export class Stream<R = Record<string, unknown>> {
  readonly partitions: number;
  readonly size: number;
  /** The stream in whose slots its partitions are. */
  readonly source: string;

  constructor(readonly app: App, readonly name: string, private readonly options: StreamOptions<R>) {
    checkName('stream', name);
    this.source = name;
    this.partitions = whole(`stream ${name}: partitions`, options.partitions ?? 16, 1, 10_000);
    this.size = whole(`stream ${name}: size`, options.size ?? 50_000, 2, 1e9);
  }

  /** Send a record. Returns the id of its event once Redis has it. Throws FullError, DeliveryTimeout and others. */
  send(record: R, options: { headers?: Headers } = {}): Promise<string> {
    const checked = this.checked(record);
    const entry = encodeEntry(checked, options.headers);
    const bytes = entry.reduce((sum, each) => sum + each.length, 0);
    if (bytes > MOST_BYTES) throw new EncodeError(`stream ${this.name}: the record takes ${bytes} bytes, and ${MOST_BYTES} are the most`);
    return this.app.producer(this).send(this.partitionOf(checked), entry);
  }

  /** Send records, those of a partition in their order. Returns their ids. The first failure is thrown once all are settled. */
  async sendMany(records: Iterable<R>): Promise<string[]> {
    const results = await Promise.allSettled([...records].map((each) => this.send(each)));
    const failed = results.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
    return results.map((each) => (each as PromiseFulfilledResult<string>).value);
  }

  /** The partition that has the events of this record's key. */
  partitionOf(record: R): number {
    const { partitionBy } = this.options;
    const key = typeof partitionBy === 'function' ? partitionBy(record) : (record[partitionBy] as Key);
    return partitionOf(key, this.partitions);
  }

  /** The key of a record. */
  keyOf(record: R): Key {
    const { partitionBy } = this.options;
    return typeof partitionBy === 'function' ? partitionBy(record) : (record[partitionBy] as Key);
  }

  /** The record as the schema returns it. Throws EncodeError. */
  checked(record: unknown): R {
    return this.validated(record, (why) => new EncodeError(`stream ${this.name}: ${why}`));
  }

  /** The record of an entry. Throws DecodeError. */
  decode(entry: readonly Uint8Array[]): R {
    return this.validated(decodeEntry(entry), (why) => new DecodeError(`stream ${this.name}: ${why}`));
  }

  prefix(partition: number): string {
    return prefixOf(this.app.name, this.source, partition, this.name);
  }

  private validated(value: unknown, error: (why: string) => Error): R {
    const { schema } = this.options;
    if (schema === undefined) return value as R;
    const result = schema['~standard'].validate(value);
    if (result instanceof Promise) throw new ConfigError(`stream ${this.name}: its schema is asynchronous, and must not be`);
    if (result.issues === undefined) return result.value;
    throw error(
      result.issues
        .map(({ message, path }) => `${(path ?? []).map((each) => String(typeof each === 'object' ? each.key : each)).join('.') || 'record'}: ${message}`)
        .join('; '),
    );
  }
}

/** `value` if it is a whole number within the limits. */
export function whole(where: string, value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    throw new ConfigError(`${where} must be a whole number from ${least} to ${most}, not ${String(value)}`);
  }
  return value;
}
