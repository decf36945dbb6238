// Every key and channel that this client uses: see the table in lua/README.md.
import { ConfigError } from './errors.js';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

/** Returns `name` if it may be part of a key. */
export function checkName(kind: string, name: string): string {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new ConfigError(
      `${kind} name ${JSON.stringify(name)} is not usable: letters, digits, "_", "-" and ".", the first a letter or digit, at most 100`,
    );
  }
  return name;
}

/** The start of all keys of one partition. `source` is the stream whose slots it shares. */
export const prefixOf = (app: string, source: string, partition: number, stream: string): string =>
  `runnel:{${app}:${source}:${partition}}:${stream}`;

/** The keys of one processor on one partition. */
export class PartitionKeys {
  readonly log: string;
  readonly meta: string;
  readonly producers: string;
  readonly state: string;
  readonly parked: string;
  readonly parkedKeys: string;
  readonly replay: string;
  readonly delayed: string;
  readonly numbers: string;
  readonly outbox: string;

  constructor(readonly prefix: string, readonly processor = '') {
    this.log = `${prefix}:log`;
    this.meta = `${prefix}:meta`;
    this.producers = `${prefix}:producers`;
    this.state = `${prefix}:processor:${processor}`;
    this.parked = `${prefix}:parked:${processor}`;
    this.parkedKeys = `${prefix}:parked_keys:${processor}`;
    this.replay = `${prefix}:replay:${processor}`;
    this.delayed = `${prefix}:delayed`;
    this.numbers = `${prefix}:numbers`;
    this.outbox = `${prefix}:outbox:${processor}`;
  }

  /** KEYS of the scripts about one processor on one partition. */
  get ofScript(): string[] {
    return [this.log, this.meta, this.state];
  }

  table(name: string): string {
    return `${this.prefix}:table:${name}`;
  }

  /** What was sent under a key of `dedupe`, and what a request has delayed. */
  dedupe(key: string): string {
    return `${this.prefix}:dedupe:${key}`;
  }

  request(key: string): string {
    return `${this.prefix}:delayed:${key}`;
  }
}

/** The keys of a processor's group. */
export class GroupKeys {
  readonly plan: string;
  readonly members: string;
  readonly sessions: string;
  readonly wake: string;

  constructor(app: string, stream: string, processor: string) {
    const group = `runnel:{${app}:${stream}@${processor}}`;
    this.plan = `${group}:plan`;
    this.members = `${group}:members`;
    this.sessions = `${group}:sessions`;
    this.wake = `${group}:wake`;
  }
}

/** The channel that says that an event of the stream is due sooner than others. */
export const delayedChannel = (app: string, stream: string): string => `runnel:{${app}:${stream}}:delayed`;

/** The registry, for `runnel inspect`. Nothing depends on it. */
export const registry = {
  apps: 'runnel:apps',
  streams: (app: string): string => `runnel:{${app}}:streams`,
  processors: (app: string): string => `runnel:{${app}}:processors`,
};
