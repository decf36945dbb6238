// One connection to one server. Once it is lost it stays lost: whoever needs one makes another.
import { Redis, type RedisOptions } from 'ioredis';
import type { Socket } from 'node:net';

import { ConfigError, DeliveryTimeout } from './errors.js';

export class Connection {
  readonly redis: Redis;
  private readonly ready: Promise<void>;
  private over = false;
  private isCorked = false;

  /** `timeout` milliseconds are the limit of each call, and of connecting, from the first byte to the end of the handshake. */
  constructor({ db = 0, ...options }: RedisOptions, private readonly timeout: number) {
    this.redis = new Redis({
      ...options,
      connectTimeout: timeout,
      sentinelCommandTimeout: timeout,
      noDelay: true,
      keyPrefix: '',
      disableClientInfo: true,
      // Every repeat is ours: the library never sends a command again, and never connects again.
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      enableAutoPipelining: false,
      retryStrategy: () => null,
      sentinelRetryStrategy: () => null,
      reconnectOnError: null,
    });
    this.ready = new Promise((done, fail) => {
      let why: Error | undefined;
      const timer = setTimeout(() => {
        why ??= new DeliveryTimeout(`no connection to Redis within ${timeout} ms`);
        fail(why);
        this.close();
      }, timeout);
      this.redis.on('error', (error: Error) => {
        why ??= error; // Each call gets its own error, too.
      });
      this.redis.once('ready', () => {
        selected(this.redis, db).then(done, (error: Error) => {
          why ??= error;
          this.close();
        }).finally(() => clearTimeout(timer));
      });
      this.redis.once('end', () => {
        clearTimeout(timer);
        this.over = true;
        fail(why ?? new Error('the connection was closed'));
      });
    });
    this.ready.catch(() => undefined);
  }

  /** Is it lost? */
  get isOver(): boolean {
    return this.over;
  }

  /** The id of the server's process, empty before the connection is ready, or if the user may not ask for it. */
  get runId(): string {
    const { serverInfo } = this.redis as unknown as { serverInfo?: { run_id?: string } };
    return serverInfo?.run_id ?? '';
  }

  /** Run commands once. After `extra` milliseconds more than the time limit the connection is closed: a reply that comes
   * late must not be taken for that of the next call. */
  async once<T>(run: (redis: Redis) => Promise<T>, extra = 0): Promise<T> {
    await this.ready;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, fail) => {
      timer = setTimeout(() => {
        fail(new DeliveryTimeout(`Redis did not answer within ${this.timeout + extra} ms`));
        this.close();
      }, this.timeout + extra);
    });
    try {
      this.cork();
      return await Promise.race([run(this.redis), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** All commands of a turn go out in one packet: the library writes each by itself. */
  private cork(): void {
    if (this.isCorked) return;
    const { stream } = this.redis as unknown as { stream: Socket };
    this.isCorked = true;
    stream.cork();
    process.nextTick(() => {
      this.isCorked = false;
      stream.uncork();
    });
  }

  close(): void {
    this.over = true;
    this.redis.disconnect();
  }
}

/** The library would go on in database 0 if Redis refuses the one of the URL. Throws ConfigError then. */
async function selected(redis: Redis, db: number): Promise<void> {
  if (db === 0) return;
  try {
    await redis.select(db);
  } catch (error) {
    const said = (error as Error).message;
    if (!/^(ERR|NOPERM)\b/.test(said)) throw error;
    throw new ConfigError(`redisUrl names the database ${db}, which cannot be used: ${said}`, { cause: error });
  }
}
