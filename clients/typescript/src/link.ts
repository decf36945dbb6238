// Calls of scripts: each has a time limit, and is repeated here, never by the library.
import type { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';

import { Cluster } from './cluster.js';
import type { Connection } from './connection.js';
import { ConfigError, DeliveryTimeout, Refused, RunnelError } from './errors.js';
import { script } from './scripts.js';
import { OneServer, type Servers } from './servers.js';
import { isWrongType, Trouble } from './trouble.js';
import { parseUrl } from './url.js';

export type Arg = string | number | Uint8Array;
/** A reply of a script: integers as numbers, all else as bytes. */
export type Reply = (number | Buffer)[];

/** Errors of Redis that do not go away by themselves. */
const FATAL = /^(ERR (?!max number of clients)|NOPERM|NOAUTH|WRONGPASS|WRONGTYPE)\b/;
/** With these errors Redis says that the call did not run. */
const DID_NOT_RUN = /^(NOSCRIPT|MOVED|ASK|TRYAGAIN|CLUSTERDOWN|LOADING|BUSY|MASTERDOWN|READONLY)\b/;
const LONGEST_PAUSE = 500;

export const now = (): number => performance.now();

export interface LinkOptions {
  readonly url: string;
  /** Milliseconds that a call, or connecting, may take. */
  readonly timeout: number;
  /** Where it says that calls without a limit are not carried out. */
  readonly log?: (text: string) => void;
}

export interface CallOptions {
  /** A key that says where, for a call without keys. */
  readonly at?: string;
  /** The time, of `now()`, until which the call is repeated. Default: until it is answered. */
  readonly until?: number;
  /** Repeat it only if Redis says that it did not run. */
  readonly onlyIfNotRun?: boolean;
  /** The call is repeated although it may have run. */
  readonly inDoubt?: () => void;
}

export class Link {
  readonly servers: Servers;
  private closed = false;
  private readonly trouble: Trouble;

  constructor(readonly options: LinkOptions) {
    this.trouble = new Trouble(options.log ?? (() => undefined));
    const url = parseUrl(options.url);
    this.servers = url.kind === 'cluster' ? new Cluster(url, options.timeout) : new OneServer(url, options.timeout);
  }

  /** Call a script, and repeat the call unchanged until it is answered. The first key says where.
   *
   * Throws Refused, DeliveryTimeout, or an error of Redis that does not go away by itself. */
  async call(name: string, keys: readonly string[], args: readonly Arg[], options: CallOptions = {}): Promise<Reply> {
    const { sha, source } = script(name);
    const command = [sha, keys.length, ...keys, ...args.map((each) => (each instanceof Uint8Array ? bufferOf(each) : each))] as string[];
    const { until = Infinity, onlyIfNotRun = false, inDoubt, at = keys[0]! } = options;
    let redirected: Connection | undefined;
    for (let pause = 20; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      let connection: Connection | undefined;
      const asking = redirected;
      try {
        connection = redirected ?? (await this.connectionFor(at));
        const reply = await connection.once((redis) => {
          if (asking !== undefined) redis.call('ASKING').catch(() => undefined); // Without effect for a node that has the slot.
          return redis.callBuffer('EVALSHA', command);
        });
        return (Array.isArray(reply) ? reply : [reply]) as Reply; // A script with one reply sends no list.
      } catch (error) {
        const said = textOf(error);
        if (said.startsWith('NOSCRIPT') && connection !== undefined) {
          await connection.once((redis) => redis.call('SCRIPT', ['LOAD', source])).catch((failure: unknown) => {
            if (isFatal(failure)) throw failure;
          });
          if (now() < until) continue;
        }
        const refused = Refused.from(error);
        if (refused !== undefined) throw refused;
        if (this.closed || isFatal(error)) throw fatal(error, keys);
        if (until === Infinity) {
          const end = this.trouble.failed(`the call of ${name}`, error, now());
          if (end !== undefined) throw end;
        }
        redirected = this.servers.learn(connection, said);
        const notRun = DID_NOT_RUN.test(said);
        if (now() + pause > until || (onlyIfNotRun && !notRun)) {
          throw new DeliveryTimeout(`Redis gave no answer to ${name} in time${notRun ? '' : ': it may have been carried out'} (${said})`, { cause: error });
        }
        if (!notRun) inDoubt?.();
        if (redirected === undefined) await sleep(pause);
      }
    }
  }

  /** Ask something that changes nothing of the server that has this key, again until it is answered. */
  async ask<T>(key: string, run: (redis: Redis) => Promise<T>): Promise<T> {
    for (let pause = 20; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      try {
        return await this.once(key, run);
      } catch (error) {
        if (this.closed || isFatal(error)) throw fatal(error, [key]);
        await sleep(pause);
      }
    }
  }

  /** Run commands once on the server that has this key. */
  async once<T>(key: string, run: (redis: Redis) => Promise<T>): Promise<T> {
    let connection: Connection | undefined;
    try {
      connection = await this.connectionFor(key);
      return await connection.once(run);
    } catch (error) {
      this.servers.learn(connection, textOf(error));
      throw error;
    }
  }

  /** The id of the server process to which calls for this key go, empty if it is not known. */
  async runId(key: string): Promise<string> {
    return (await this.connectionFor(key)).runId;
  }

  close(): void {
    this.closed = true;
    this.servers.close();
  }

  private connectionFor(key: string): Connection | Promise<Connection> {
    if (this.closed) throw new Error('the connection is closed');
    return this.servers.connectionFor(key);
  }
}

const isFatal = (error: unknown): boolean => error instanceof ConfigError || FATAL.test(textOf(error));
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const bufferOf = (bytes: Uint8Array): Buffer => (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));

export const asText = (value: number | Buffer | undefined): string => (value === undefined ? '' : value.toString());
export const asNumber = (value: number | Buffer | undefined): number => Number(asText(value));

/** The error with what people must know of it. */
function fatal(error: unknown, keys: readonly string[]): unknown {
  const said = textOf(error);
  if (/^(NOAUTH|WRONGPASS)\b/.test(said)) return new ConfigError(`Redis refuses the login of redisUrl: ${said}`, { cause: error });
  if (isWrongType(error)) return new RunnelError(`${said}; another program has written to a key of Runnel: look at ${keys.join(', ')}`, { cause: error });
  return error;
}
