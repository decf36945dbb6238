// A named, typed, partitioned log of events.
import type { App } from './app.js';
import { whole } from './checks.js';
import { decodeEntry, encodeEntry, type Entry, type Headers } from './codec.js';
import { ConfigError, DecodeError, EncodeError, withSent } from './errors.js';
import { checkName, prefixOf } from './keys.js';
import { BATCH, type Bulk, type Receipt, sizeOf } from './producer.js';
import { type Key, partitionOf } from './routing.js';
import { issuesOf, type StandardSchema } from './schema.js';
import { cancel, type Delayed, delayedOf, type SendOneOptions, type SendOptions, wayOf, type WhenDue } from './sending.js';

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
/** Records, and their bytes, that `sendMany` has under way. */
const WINDOW = { records: 5000, bytes: 16_000_000 };

/** Entries of one call, with the places of their records. */
interface Share {
  readonly partition: number;
  readonly entries: Entry[];
  readonly places: number[];
}

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

  /** Send a record. Returns the id of its event once Redis has it; with `at` or `delay` a receipt, which `cancel` takes.
   *
   * Throws EncodeError before anything is sent, FullError, DeliveryTimeout, and Redis's own errors. */
  send(record: R, options?: SendOneOptions): Promise<string>;
  send(record: R, options: SendOneOptions & WhenDue): Promise<Delayed>;
  async send(record: R, options: SendOneOptions & Partial<WhenDue> = {}): Promise<string | Delayed> {
    const way = wayOf(options, this.app.defaults);
    const { partition, entry } = this.encode(record, options.headers);
    const [receipt] = await this.app.producerOf(this).send(partition, [entry], way);
    return typeof receipt === 'string' ? receipt : delayedOf(partition, receipt!);
  }

  /** Send records, those of a partition in their order, and as many at once as go into a call. Returns their ids, or receipts.
   *
   * A list is checked before its first record is sent; of what is longer, 5,000 records at a time. If a call fails, the error
   * has the attribute `sent`: for each record its id, or undefined if it was not sent, or may have been. */
  sendMany(records: Iterable<R> | AsyncIterable<R>, options?: SendOptions): Promise<string[]>;
  sendMany(records: Iterable<R> | AsyncIterable<R>, options: SendOptions & WhenDue): Promise<Delayed[]>;
  async sendMany(records: Iterable<R> | AsyncIterable<R>, options: SendOptions & Partial<WhenDue> = {}): Promise<(string | Delayed)[]> {
    const sent: (string | Delayed | undefined)[] = [];
    let window: { partition: number; entry: Entry }[] = [];
    let bytes = 0;
    try {
      for await (const record of records) {
        const encoded = this.encode(record, options.headers);
        window.push(encoded);
        bytes += sizeOf([encoded.entry]);
        if (window.length < WINDOW.records && bytes < WINDOW.bytes) continue;
        await this.sendWindow(window, options, sent);
        [window, bytes] = [[], 0];
      }
      await this.sendWindow(window, options, sent);
    } catch (error) {
      throw withSent(error, sent);
    }
    return sent as (string | Delayed)[];
  }

  /** Remove an event that was sent with `at` or `delay`, by its receipt. Returns true if it waited: then it never enters the
   * log. Returns false if it has entered the log, or was cancelled before. */
  cancel(delayed: Delayed): Promise<boolean> {
    whole(`stream ${this.name}: the partition of a receipt`, delayed.partition, 0, this.partitions - 1);
    return cancel(this.app.sending.link, this.prefix(delayed.partition), delayed, this.app.defaults.deliveryTimeout);
  }

  /** The partition that has the events of this record's key. */
  partitionOf(record: R): number {
    return partitionOf(this.keyOf(record), this.partitions);
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

  /** The partition and the entry of a record. Throws EncodeError. */
  encode(record: R, headers: Headers | undefined): { partition: number; entry: Entry } {
    const checked = this.checked(record);
    const entry = encodeEntry(checked, headers);
    const bytes = sizeOf([entry]);
    if (bytes > MOST_BYTES) throw new EncodeError(`stream ${this.name}: the record takes ${bytes} bytes, and ${MOST_BYTES} are the most`);
    return { partition: this.partitionOf(checked), entry };
  }

  prefix(partition: number): string {
    return prefixOf(this.app.name, this.source, partition, this.name);
  }

  private async sendWindow(window: { partition: number; entry: Entry }[], options: SendOptions & Partial<WhenDue>, sent: (string | Delayed | undefined)[]): Promise<void> {
    const way = wayOf(options, this.app.defaults);
    const from = sent.length;
    sent.push(...window.map(() => undefined));
    const most = { ...BATCH, entries: Math.min(BATCH.entries, this.size - 1) };
    const bulk: Bulk = new Map();
    const calls = sharesOf(window, most).map(async ({ partition, entries, places }) => {
      const receipts = await this.app.producerOf(this).send(partition, entries, way, bulk);
      receipts.forEach((each: Receipt, i: number) => {
        sent[from + places[i]!] = typeof each === 'string' ? each : delayedOf(partition, each);
      });
    });
    const failed = (await Promise.allSettled(calls)).find((each) => each.status === 'rejected');
    if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
  }

  private validated(value: unknown, error: (why: string) => Error): R {
    const { schema } = this.options;
    if (schema === undefined) return value as R;
    const result = schema['~standard'].validate(value);
    if (result instanceof Promise) throw new ConfigError(`stream ${this.name}: its schema is asynchronous, and must not be`);
    if (result.issues === undefined) return result.value;
    throw error(issuesOf(result.issues));
  }
}

/** Entries by partition, in the order of their records, each share small enough for one call. */
function sharesOf(window: readonly { partition: number; entry: Entry }[], most: { entries: number; bytes: number }): Share[] {
  const shares: Share[] = [];
  const open = new Map<number, { share: Share; bytes: number }>();
  window.forEach(({ partition, entry }, place) => {
    const bytes = sizeOf([entry]);
    let found = open.get(partition);
    if (found === undefined || found.share.entries.length >= most.entries || found.bytes + bytes > most.bytes) {
      found = { share: { partition, entries: [], places: [] }, bytes: 0 };
      open.set(partition, found);
      shares.push(found.share);
    }
    found.share.entries.push(entry);
    found.share.places.push(place);
    found.bytes += bytes;
  });
  return shares;
}
