// Runnel: ordered, fenced event processing on Redis Streams.
export { App, type AppOptions } from './app.js';
export type { Headers } from './codec.js';
export type { Table } from './effects.js';
export {
  ConfigError, DecodeError, DeliveryTimeout, EncodeError, FullError, Halted, HandlerTimeout, Refused, RunnelError, TooManyWrites,
} from './errors.js';
export type { BatchHandler, Event, Handler, Policy, ProcessorOptions } from './processor.js';
export type { WhenFull } from './producer.js';
export { type Key, keyBytes, partitionOf } from './routing.js';
export type { StandardSchema, Stream, StreamOptions } from './stream.js';
export type { Worker, WorkerOptions } from './worker.js';
