// A connection to Redis whose calls have a time limit and are repeated here, never by the library.
import { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';

import { DeliveryTimeout, Refused } from './errors.js';
import { script } from './scripts.js';

export type Arg = string | number | Uint8Array;
/** A reply of a script: integers as numbers, all else as bytes. */
export type Reply = (number | Buffer)[];

/** Errors of Redis that do not go away by themselves. */
const FATAL = /^(ERR|NOPERM|NOAUTH|WRONGPASS|WRONGTYPE)\b/;
/** The server is no primary any more: its name may lead elsewhere now. */
const MOVED_ON = /^(READONLY|MASTERDOWN)\b/;
const LONGEST_PAUSE = 500;

export const now = (): number => performance.now();

export interface LinkOptions {
  readonly url: string;
  /** Milliseconds that a call, or connecting, may take. */
  readonly timeout: number;
}

export class Link {
  readonly redis: Redis;
  private closed = false;

  constructor(private readonly options: LinkOptions) {
    this.redis = new Redis(options.url, {
      lazyConnect: false,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      enableAutoPipelining: false,
      noDelay: true,
      connectTimeout: options.timeout,
      retryStrategy: (times: number) => Math.min(50 * times, LONGEST_PAUSE),
    });
    this.redis.on('error', () => undefined); // Each call gets its own error.
    this.redis.on('end', () => {
      this.closed = true;
    });
  }

  /** Run commands once. After `extra` milliseconds more than the time limit the connection is closed: a reply that comes
   * late must not be taken for that of the next call. */
  async once<T>(run: (redis: Redis) => Promise<T>, extra = 0): Promise<T> {
    await this.ready();
    const { redis } = this;
    const stream = (redis as unknown as { stream: unknown }).stream;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, fail) => {
      timer = setTimeout(() => {
        if ((redis as unknown as { stream: unknown }).stream === stream && redis.status === 'ready') redis.disconnect(true);
        fail(new DeliveryTimeout(`Redis did not answer within ${this.options.timeout + extra} ms`));
      }, this.options.timeout + extra);
    });
    try {
      return await Promise.race([run(redis), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Call a script, and repeat the call unchanged until it is answered, or until `until` (of `now()`) is over.
   *
   * Throws Refused, DeliveryTimeout, or an error of Redis that does not go away by itself. */
  async call(name: string, keys: readonly string[], args: readonly Arg[], until = Infinity): Promise<Reply> {
    const { sha, source } = script(name);
    const command = [sha, keys.length, ...keys, ...args.map((each) => (each instanceof Uint8Array ? Buffer.from(each) : each))];
    for (let pause = 20; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      try {
        const reply = await this.once((redis) => redis.callBuffer('EVALSHA', command as string[]));
        return (Array.isArray(reply) ? reply : [reply]) as Reply; // A script with one reply sends no list.
      } catch (error) {
        const said = error instanceof Error ? error.message : String(error);
        if (said.startsWith('NOSCRIPT')) {
          await this.once((redis) => redis.call('SCRIPT', ['LOAD', source])).catch(() => undefined);
          if (now() < until) continue;
        }
        const refused = Refused.from(error);
        if (refused !== undefined) throw refused;
        if (this.closed || FATAL.test(said)) throw error;
        if (MOVED_ON.test(said)) this.redis.disconnect(true);
        if (now() + pause > until) {
          throw new DeliveryTimeout(`Redis gave no answer to ${name} in time: it may have been carried out (${said})`, { cause: error });
        }
        await sleep(pause);
      }
    }
  }

  /** Ask something that changes nothing, again until it is answered. */
  async ask<T>(run: (redis: Redis) => Promise<T>): Promise<T> {
    for (let pause = 20; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      try {
        return await this.once(run);
      } catch (error) {
        if (this.closed || FATAL.test(error instanceof Error ? error.message : '')) throw error;
        await sleep(pause);
      }
    }
  }

  close(): void {
    this.closed = true;
    this.redis.disconnect();
  }

  private async ready(): Promise<void> {
    for (let since = now(); this.redis.status !== 'ready'; await sleep(10)) {
      if (this.closed) throw new Error('the connection is closed');
      if (now() - since > this.options.timeout) {
        this.redis.disconnect(true); // The library waits for ever for an answer to its handshake.
        throw new DeliveryTimeout(`no connection to Redis within ${this.options.timeout} ms`);
      }
    }
  }
}

export const asText = (value: number | Buffer | undefined): string => (value === undefined ? '' : value.toString());
export const asNumber = (value: number | Buffer | undefined): number => Number(asText(value));
