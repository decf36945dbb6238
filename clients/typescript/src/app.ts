// A namespace of streams and processors in one Redis.
import { ConfigError } from './errors.js';
import { checkName } from './keys.js';
import { Link } from './link.js';
import { type BatchHandler, type Handler, Processor, type ProcessorOptions } from './processor.js';
import { Producer, type WhenFull } from './producer.js';
import { Stream, type StreamOptions } from './stream.js';
import { Worker, type WorkerOptions } from './worker.js';

export interface AppOptions {
  /** Default: the environment variable RUNNEL_REDIS_URL, else redis://127.0.0.1:6379. */
  readonly redisUrl?: string;
  /** What `send` does if a partition has no room. Default `refuse`. */
  readonly whenFull?: WhenFull;
  /** Milliseconds for which `send` repeats a call that Redis does not answer. Default 10,000. */
  readonly deliveryTimeout?: number;
  /** Where warnings go. Default `console.warn`. */
  readonly log?: (text: string) => void;
}

export class App {
  readonly url: string;
  readonly log: (text: string) => void;
  readonly streams = new Map<string, Stream<never>>();
  readonly processors = new Map<string, Processor>();
  private readonly producers = new Map<string, Producer>();
  private link: Link | undefined;

  constructor(readonly name: string, private readonly options: AppOptions = {}) {
    checkName('app', name);
    this.url = options.redisUrl ?? process.env['RUNNEL_REDIS_URL'] ?? 'redis://127.0.0.1:6379';
    this.log = options.log ?? ((text) => console.warn(text));
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
    this.add(new Processor(this, stream, options, async ([event]) => handler(event!.record, event!), 1));
  }

  /** Declare a processor whose handler gets up to `size` events at a time. */
  onBatch<R>(stream: Stream<R>, options: ProcessorOptions & { readonly size: number }, handler: BatchHandler<R>): void {
    this.add(new Processor(this, stream, options, handler, options.size));
  }

  /** A worker of all processors, or of those named. `await worker.run()` works until it is stopped. */
  worker(options: WorkerOptions = {}): Worker {
    return new Worker(this, options);
  }

  /** The producer of a stream. */
  producer(stream: Stream<never> | Stream<any>): Producer {
    let found = this.producers.get(stream.name);
    if (found === undefined) {
      const deliveryTimeout = this.options.deliveryTimeout ?? 10_000;
      this.link ??= new Link({ url: this.url, timeout: Math.min(3000, deliveryTimeout) });
      found = new Producer(this.link, stream, { whenFull: this.options.whenFull ?? 'refuse', deliveryTimeout, warn: this.log });
      this.producers.set(stream.name, found);
    }
    return found;
  }

  /** Close the connection of `send`. */
  close(): void {
    this.link?.close();
    this.link = undefined;
    this.producers.clear();
  }

  private add(processor: Processor): void {
    if (this.processors.has(processor.name)) throw new ConfigError(`app ${this.name} has two processors named ${processor.name}`);
    this.processors.set(processor.name, processor);
  }
}
