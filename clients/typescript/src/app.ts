// A namespace of streams and processors in one Redis.
import type { Sending } from './appender.js';
import { callable, DAY, MOST_TIME, whole } from './checks.js';
import { ConfigError } from './errors.js';
import { checkName } from './keys.js';
import { Link } from './link.js';
import { NumberedProducer } from './numbered.js';
import { type BatchHandler, type Handler, Processor, type ProcessorOptions } from './processor.js';
import { Producer } from './producer.js';
import type { Defaults, WhenFull } from './sending.js';
import { Stream, type StreamOptions } from './stream.js';
import { parseUrl } from './url.js';
import { Worker, type WorkerOptions } from './worker.js';

export interface AppOptions {
  /** One server, a cluster or sentinels. Default: the environment variable RUNNEL_REDIS_URL, else redis://127.0.0.1:6379. */
  readonly redisUrl?: string;
  /** What `send` does if a partition has no room, unless it says otherwise. Default `refuse`. */
  readonly whenFull?: WhenFull;
  /** Milliseconds for which `send` repeats a call that Redis does not answer. Default 10,000. */
  readonly deliveryTimeout?: number;
  /** Milliseconds for which a partition remembers the key of `dedupe`. Default a day. */
  readonly dedupeWindow?: number;
  /** Where warnings go. Default `console.warn`. */
  readonly log?: (text: string) => void;
}

export class App {
  readonly url: string;
  readonly log: (text: string) => void;
  readonly defaults: Defaults;
  readonly streams = new Map<string, Stream<never>>();
  readonly processors = new Map<string, Processor>();
  private readonly producers = new Map<string, Producer>();
  private link: Link | undefined;

  constructor(readonly name: string, options: AppOptions = {}) {
    checkName('app', name);
    const { redisUrl, whenFull = 'refuse', deliveryTimeout = 10_000, dedupeWindow = 86_400_000, log = (text) => console.warn(text) } = options;
    this.url = redisUrl ?? process.env['RUNNEL_REDIS_URL'] ?? 'redis://127.0.0.1:6379';
    this.log = log;
    this.defaults = { whenFull, deliveryTimeout, dedupeWindow };
    parseUrl(this.url);
    whole(`app ${name}: deliveryTimeout, in milliseconds,`, deliveryTimeout, 1, MOST_TIME);
    whole(`app ${name}: dedupeWindow, in milliseconds,`, dedupeWindow, 0, 366 * DAY);
    if (!['refuse', 'wait', 'drop_oldest'].includes(whenFull)) throw new ConfigError(`app ${name}: whenFull must be refuse, wait or drop_oldest, not ${String(whenFull)}`);
  }

  /** Declare a stream. Partition count and key must be those of every other client of it. */
  stream<R = Record<string, unknown>>(name: string, options: StreamOptions<R>): Stream<R> {
    if (this.streams.has(name)) throw new ConfigError(`app ${this.name} has two streams named ${name}`);
    const made = new Stream<R>(this, name, options);
    this.streams.set(name, made as unknown as Stream<never>);
    return made;
  }

  /** Declare a processor: `handler` gets one record at a time, those of a partition in order. */
  on<R>(stream: Stream<R>, options: ProcessorOptions, handler: Handler<R>): void {
    callable(`processor ${options.name}`, handler);
    this.add(new Processor(this, stream, options, ([event]) => handler(event!.record, event!), 1));
  }

  /** Declare a processor whose handler gets up to `size` events at a time. */
  onBatch<R>(stream: Stream<R>, options: ProcessorOptions & { readonly size: number }, handler: BatchHandler<R>): void {
    this.add(new Processor(this, stream, options, callable(`processor ${options.name}`, handler), options.size));
  }

  /** A worker of all processors, or of those named. `await worker.run()` works until it is stopped. */
  worker(options: WorkerOptions = {}): Worker {
    return new Worker(this, options);
  }

  /** A producer under an id of your choice: it sends records that have numbers, each once, also after a restart. */
  producer({ id }: { readonly id: string }): NumberedProducer {
    return new NumberedProducer(this, id);
  }

  /** Close the connections of `send`. What is still to be sent fails. */
  close(): void {
    this.link?.close();
    this.link = undefined;
    this.producers.clear();
  }

  /** @internal The producer of a stream. */
  producerOf(stream: Stream<any>): Producer {
    const found = this.producers.get(stream.name) ?? new Producer(this.sending, stream);
    this.producers.set(stream.name, found);
    return found;
  }

  /** @internal What all producers share. */
  get sending(): Sending {
    const { deliveryTimeout } = this.defaults;
    this.link ??= new Link({ url: this.url, timeout: Math.max(1, Math.min(3000, Math.floor(deliveryTimeout / 3))) });
    return { link: this.link, deliveryTimeout, warn: this.log };
  }

  private add(processor: Processor): void {
    if (this.processors.has(processor.name)) throw new ConfigError(`app ${this.name} has two processors named ${processor.name}`);
    this.processors.set(processor.name, processor);
  }
}
