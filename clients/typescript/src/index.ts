// Runnel: ordered, fenced event processing on Redis Streams.
export { App, type AppOptions } from './app.js';
export type { Headers } from './codec.js';
export {
  ConfigError, DecodeError, DeliveryTimeout, EarlierNotSent, EncodeError, FullError, Halted, HandlerTimeout, ProducerInUse, Refused,
  RunnelError, TooManyWrites,
} from './errors.js';
export type { NumberedOptions, NumberedProducer, RecordNumber } from './numbered.js';
export type { BatchHandler, Event, Handler, Policy, ProcessorOptions } from './processor.js';
export { type Key, keyBytes, partitionOf } from './routing.js';
export type { StandardSchema } from './schema.js';
export type { Delayed, SendOneOptions, SendOptions, WhenDue, WhenFull } from './sending.js';
export type { Stream, StreamOptions } from './stream.js';
export type { Table, TableOptions } from './table.js';
export type { Worker, WorkerOptions } from './worker.js';
