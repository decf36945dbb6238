// A process that runs processors: joins their groups, holds partitions, leaves.
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

import type { App } from './app.js';
import { DAY, milliseconds, whole } from './checks.js';
import { ConfigError } from './errors.js';
import { Heartbeats } from './heartbeats.js';
import { Link } from './link.js';
import { Member } from './member.js';
import type { Times } from './membership.js';

export interface WorkerOptions {
  /** Names of the processors to run. Default: all of the app. */
  readonly processors?: readonly string[];
  /** The member id: unique among living workers. Default: host, process and a random part. */
  readonly name?: string;
  /** Milliseconds; defaults 10,000, 30,000, 200 and 30,000. */
  readonly sessionTimeout?: number;
  readonly rebalanceTimeout?: number;
  readonly rebalanceDelay?: number;
  readonly shutdownTimeout?: number;
  /** Milliseconds for which a thread sends the heartbeats while handlers keep the event loop. Default 60,000; 0: no thread. */
  readonly maxBlock?: number;
}

export class Worker {
  readonly name: string;
  private readonly stopping = new AbortController();
  private readonly times: Times;
  private readonly shutdownTimeout: number;
  private readonly maxBlock: number;
  private failure: unknown;

  constructor(private readonly app: App, private readonly options: WorkerOptions) {
    const { sessionTimeout = 10_000, rebalanceTimeout = 30_000, rebalanceDelay = 200, shutdownTimeout = 30_000, maxBlock = 60_000 } = options;
    this.times = {
      session: whole('worker: sessionTimeout, in milliseconds,', sessionTimeout, 100, DAY),
      rebalance: whole('worker: rebalanceTimeout, in milliseconds,', rebalanceTimeout, 0, DAY),
      delay: whole('worker: rebalanceDelay, in milliseconds,', rebalanceDelay, 0, DAY),
    };
    this.shutdownTimeout = milliseconds('worker: shutdownTimeout', shutdownTimeout, 0);
    this.maxBlock = milliseconds('worker: maxBlock', maxBlock, 0);
    this.name = options.name ?? `${hostname().replace(/[^\w.-]/g, '-')}-${process.pid}-${randomBytes(3).toString('hex')}`;
    for (const each of options.processors ?? []) {
      if (!app.processors.has(each)) {
        throw new ConfigError(`app ${app.name} has no processor ${each}; it has ${[...app.processors.keys()].join(', ') || 'none'}`);
      }
    }
  }

  /** Begin to end: nothing more is handed out, and `run` returns when all is released. */
  stop(): void {
    this.stopping.abort();
  }

  /** Work until `stop` is called, or `signal` aborts. Throws the reason if the worker ended by itself. */
  async run({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    const { times, shutdownTimeout, maxBlock } = this;
    const link = new Link({ url: this.app.url, timeout: Math.min(3000, Math.floor(times.session / 3)), log: (text) => this.app.log(text) });
    const names = this.options.processors ?? [...this.app.processors.keys()];
    const startLock = new StartLock();
    const heartbeats = new Heartbeats({ ...link.options, session: times.session, maxBlock, log: (text) => this.app.log(text) });
    const fail = (error: unknown): void => {
      this.failure ??= error;
      this.stop();
    };
    signal?.addEventListener('abort', () => this.stop(), { once: true });
    if (signal?.aborted) this.stop();
    try {
      const members = names.map((each) => new Member(this.app, this.app.processors.get(each)!, link, this.name, times, startLock, heartbeats, fail));
      await Promise.all(members.map((each) => each.run(this.stopping.signal, shutdownTimeout)));
    } finally {
      await heartbeats.stop();
      link.close();
    }
    if (this.failure !== undefined) throw this.failure;
  }
}

/** Runs one piece of work at a time. */
class StartLock {
  private last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work, work);
    this.last = turn.catch(() => undefined);
    return turn;
  }
}
