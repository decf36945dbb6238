// User code that reads one stream, with its options.
import type { App } from './app.js';
import { callable, DAY, milliseconds, whole } from './checks.js';
import { headersOf, type Headers } from './codec.js';
import { type Effects, emitted } from './effects.js';
import { ConfigError } from './errors.js';
import { checkName } from './keys.js';
import type { Stream } from './stream.js';
import { Table, type TableOptions } from './table.js';

/** What becomes of an event that has failed after all its retries.
 *
 * `quarantine`: its partition stops for all workers, until an operator resumes it. `halt`: the worker ends. `ignore`: it is
 * skipped, as a dead letter with `deadLetters`. `park`: it steps aside with the later events of its key. */
export type Policy = 'quarantine' | 'halt' | 'ignore' | 'park';

export interface ProcessorOptions {
  /** Its checkpoints are stored under this name. */
  readonly name: string;
  readonly policy?: Policy;
  /** Keep events that are skipped in the stream STREAM.PROCESSOR.dead. */
  readonly deadLetters?: boolean;
  /** How often a failing event is retried. Default 3. */
  readonly retries?: number;
  /** Milliseconds before the first retry; doubled for each further one, up to `backoffMax`. Default 500 and 30,000. */
  readonly backoff?: number;
  readonly backoffMax?: number;
  /** `each`: an event is committed before the next one of its partition begins. Default `auto`. */
  readonly commit?: 'auto' | 'each';
  /** Where a new processor begins: with the oldest event that is left, or with the next new one. Default `earliest`. */
  readonly start?: 'earliest' | 'latest';
  /** Milliseconds that one event, or batch, may take. Default: no limit, which is Infinity. */
  readonly timeout?: number;
  /** Tables of the stream that it writes: their names, or what is to be known of them. */
  readonly tables?: readonly (string | TableOptions)[];
  /** Events of a partition that may be parked. Default 1000. */
  readonly parkLimit?: number;
}

/** Tables that one commit may write, and leave room for dead letters and emits. */
const MOST_TABLES = 19;

export type Handler<R> = (record: R, event: Event<R>) => unknown;
export type BatchHandler<R> = (events: readonly Event<R>[]) => unknown;

/** An event as it was read. */
export interface Raw {
  readonly id: string;
  readonly fields: Uint8Array[];
  /** Bytes that it takes in memory, roughly. */
  readonly size: number;
  /** If it is replayed: the id of its entry among the parked events, and its key. */
  readonly parked?: { readonly entry: string; readonly key: Buffer };
}

/** One event, as a handler gets it. */
export class Event<R> {
  private decoded: R | undefined;

  constructor(
    private readonly of: { processor: Processor; partition: number; read: (table: string, field: Buffer) => Promise<Buffer | null> },
    private readonly raw: Raw,
    /** How often it has failed before, and 1. */
    readonly attempt: number,
    private readonly effects: Effects,
  ) {}

  get id(): string {
    return this.raw.id;
  }

  get partition(): number {
    return this.of.partition;
  }

  /** The record. Throws DecodeError if the entry is not a record of the stream. */
  get record(): R {
    this.decoded ??= this.of.processor.stream.decode(this.raw.fields) as R;
    return this.decoded;
  }

  get headers(): Record<string, string> {
    return headersOf(this.raw.fields);
  }

  /** A table of the stream, as this event sees it. What it writes is stored with its commit, or not at all. */
  table(name: string): Table {
    if (!this.of.processor.tables.has(name)) {
      throw new ConfigError(`processor ${this.of.processor.name} does not write the table ${name}: add it to its option tables`);
    }
    return new Table(name, this.effects, this.of.read);
  }

  /** Send a record to another stream with the commit of this event: both happen, or neither. */
  emit<T>(stream: Stream<T>, record: T, options: { headers?: Headers } = {}): void {
    const { source, app } = this.of.processor.stream;
    const { sink, entry } = emitted(stream as never, record, options.headers, { app: app.name, source, partition: this.of.partition });
    this.effects.emit(sink, entry);
  }
}

export class Processor {
  readonly name: string;
  readonly policy: Policy;
  readonly retries: number;
  readonly timeout: number | undefined;
  readonly backoff: number;
  readonly backoffMax: number;
  readonly parkLimit: number;
  readonly tables = new Map<string, TableOptions>();

  constructor(
    readonly app: App,
    readonly stream: Stream<any>,
    readonly options: ProcessorOptions,
    readonly handler: BatchHandler<any>,
    /** Events that the handler gets at a time. */
    readonly size: number,
  ) {
    this.name = checkName('processor', options.name);
    if (stream.app !== app) throw new ConfigError(`processor ${this.name}: the stream ${stream.name} belongs to another app`);
    this.policy = options.policy ?? 'quarantine';
    if (!['quarantine', 'halt', 'ignore', 'park'].includes(this.policy)) {
      throw new ConfigError(`processor ${this.name}: policy must be quarantine, halt, ignore or park, not ${String(this.policy)}`);
    }
    this.retries = whole(`processor ${this.name}: retries`, options.retries ?? 3, 0, 1_000_000);
    const { timeout = Infinity, backoff = 500, backoffMax = 30_000 } = options;
    this.timeout = timeout === Infinity ? undefined : milliseconds(`processor ${this.name}: timeout`, timeout, 1);
    this.backoff = milliseconds(`processor ${this.name}: backoff`, backoff, 0);
    this.backoffMax = milliseconds(`processor ${this.name}: backoffMax`, backoffMax, 0);
    this.parkLimit = whole(`processor ${this.name}: parkLimit`, options.parkLimit ?? 1000, 1, 10_000);
    whole(`processor ${this.name}: size`, size, 1, 1000);
    for (const each of options.tables ?? []) {
      const table = typeof each === 'string' ? { name: each } : each;
      this.tables.set(checkName('table', table.name), table);
      if (table.expire === undefined) continue;
      whole(`processor ${this.name}: expire of the table ${table.name}, in milliseconds,`, table.expire, 1000, 366 * DAY);
      if (table.expire % 1000 !== 0) throw new ConfigError(`processor ${this.name}: expire of the table ${table.name} must be whole seconds, such as 60_000`);
    }
    if (this.tables.size > MOST_TABLES) throw new ConfigError(`processor ${this.name}: ${MOST_TABLES} tables are the most`);
  }

  /** Milliseconds before the next try after this many failures. */
  delay(failures: number): number {
    return Math.min(this.backoffMax, this.backoff * 2 ** Math.min(failures - 1, 30));
  }

  /** The name of the stream of its dead letters. */
  get dead(): string {
    return `${this.stream.name}.${this.name}.dead`;
  }
}
