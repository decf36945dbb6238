// A process that runs processors: joins their groups, holds partitions, leaves.
import { Redis } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

import type { App } from './app.js';
import { Bell } from './bell.js';
import { ConfigError, refusedWith } from './errors.js';
import { delayedChannel, GroupKeys, PartitionKeys, registry } from './keys.js';
import { Lease, type Owner, register } from './lease.js';
import { Link, now } from './link.js';
import { type Action, Membership, type Times } from './membership.js';
import type { Processor } from './processor.js';
import { Reader } from './reader.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';

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
}

export class Worker {
  readonly name: string;
  private readonly stopping = new AbortController();
  private failure: unknown;

  constructor(private readonly app: App, private readonly options: WorkerOptions) {
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
    const { sessionTimeout = 10_000, rebalanceTimeout = 30_000, rebalanceDelay = 200, shutdownTimeout = 30_000 } = this.options;
    const times: Times = { session: sessionTimeout, rebalance: rebalanceTimeout, delay: rebalanceDelay };
    const link = new Link({ url: this.app.url, timeout: Math.min(3000, Math.floor(sessionTimeout / 3)) });
    const names = this.options.processors ?? [...this.app.processors.keys()];
    const startLock = new StartLock();
    const fail = (error: unknown): void => {
      this.failure ??= error;
      this.stop();
    };
    signal?.addEventListener('abort', () => this.stop(), { once: true });
    if (signal?.aborted) this.stop();
    try {
      const members = names.map((each) => new Member(this.app, this.app.processors.get(each)!, link, this.name, times, startLock, fail));
      await Promise.all(members.map((each) => each.run(this.stopping.signal, shutdownTimeout)));
    } finally {
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

/** One processor's membership of its group, and the partitions held under it. */
class Member implements Owner {
  private readonly leases = new Map<number, Lease>();
  private readonly membership: Membership;
  private readonly keys: GroupKeys;
  private readonly beat = new Bell();
  private readonly reader: Reader;
  private retiring = false;

  constructor(
    private readonly app: App, readonly processor: Processor, readonly link: Link, readonly member: string, private readonly times: Times,
    readonly startLock: StartLock, readonly fail: (error: unknown) => void,
  ) {
    const { stream, name } = processor;
    this.keys = new GroupKeys(app.name, stream.name, name);
    const description = `${hostname()} ${process.pid} typescript ${process.versions.node}`;
    this.membership = new Membership(stream.partitions, times, { id: member, incarnation: randomBytes(16).toString('hex'), description });
    this.reader = new Reader(app.url, Math.floor(times.session / 3), () => this.leases.values(), link);
  }

  readonly log = (text: string): void => this.app.log(text);
  deadline(): number {
    return this.membership.deadline;
  }
  claimed(partition: number, grant: number): boolean {
    return this.membership.claimed(partition, grant);
  }
  heartbeat(): void {
    this.beat.ring();
  }
  wakeReader(lease: Lease, force = false): void {
    this.reader.wake(lease, force);
  }

  async run(stop: AbortSignal, shutdownTimeout: number): Promise<void> {
    const wake = new Redis(this.app.url, { maxRetriesPerRequest: null });
    const delayed = delayedChannel(this.app.name, this.processor.stream.name);
    const lookForDue = (): void => {
      for (const lease of this.leases.values()) lease.lookForDue();
    };
    wake.on('error', () => undefined).on('message', (channel: string) => (channel === delayed ? lookForDue() : this.beat.ring()));
    wake.on('ready', lookForDue); // What was said before nobody has heard.
    const reading = this.reader.run(this.log);
    let late: NodeJS.Timeout | undefined;
    const onStop = (): void => {
      this.retiring = true;
      for (const lease of this.leases.values()) lease.drain();
      late ??= setTimeout(() => this.giveUp(), shutdownTimeout);
      this.beat.ring();
    };
    try {
      await this.register();
      wake.subscribe(this.keys.wake, delayed).catch(() => undefined); // To miss it costs a heartbeat, or a minute.
      if (stop.aborted) return;
      stop.addEventListener('abort', onStop, { once: true });
      await this.heartbeats();
    } catch (error) {
      this.fail(refusedWith(error, 'REPLACED') ? new ConfigError(`another worker has started under the name ${this.member}, so this one ends`) : error);
    } finally {
      clearTimeout(late);
      stop.removeEventListener('abort', onStop);
      this.reader.stop();
      wake.disconnect();
      await reading;
    }
  }

  private async register(): Promise<void> {
    const { processor, link, app } = this;
    const { stream } = processor;
    await link.call('declare', [new PartitionKeys(stream.prefix(0)).meta], [PROTOCOL, stream.partitions, HASH]);
    for (let n = 0; n < stream.partitions; n++) {
      if ((await register(link, processor, n)) === 2) this.log(`processor ${processor.name}, partition ${n}: its keys were lost, and are restored`);
    }
    const streams = [stream.name, `${stream.partitions} ${stream.source}`, ...(processor.options.deadLetters ? [processor.dead, `${stream.partitions} ${stream.source}`] : [])];
    await link.once((redis) => redis.sadd(registry.apps, app.name)).catch(() => undefined);
    await link.once((redis) => redis.hset(registry.streams(app.name), ...streams)).catch(() => undefined);
    await link.once((redis) => redis.hset(registry.processors(app.name), `${stream.name}@${processor.name}`, stream.partitions)).catch(() => undefined);
  }

  /** Until the group was left. */
  private async heartbeats(): Promise<void> {
    const { plan, members, sessions } = this.keys;
    for (let left = false; !left; ) {
      const isDone = this.retiring && (this.gaveUp || (this.leases.size === 0 && !this.membership.mustReport));
      const action: Action = isDone ? 'leave' : this.retiring ? 'retire' : 'stay';
      const call = this.membership.next(action, now());
      let wait = 100;
      try {
        // After the first one, a call that gets no answer is not repeated: the next one says what is true by then.
        const reply = await this.link.call('sync', [plan, members, sessions], call.args, now());
        const changes = this.membership.replied(call, reply);
        left = action === 'leave';
        wait = changes.wait;
        for (const partition of changes.drain) this.leases.get(partition)?.drain();
        if (!left) for (const { partition, grant } of changes.claim) this.claim(partition, grant);
      } catch (error) {
        if (refusedWith(error, 'REPLACED', 'MISMATCH', 'BADARG')) throw error;
        if (isDone) return; // The session ends by itself.
      }
      if (!left) await this.beat.wait(this.retiring ? Math.min(wait, 50) : wait);
    }
  }

  private claim(partition: number, grant: number): void {
    if (this.retiring) {
      this.membership.notHeld(partition, grant);
      return;
    }
    if (this.leases.has(partition)) {
      this.membership.claimFailed(partition, grant); // The lease before is about to be released.
      return;
    }
    const lease = new Lease(this, partition, grant);
    this.leases.set(partition, lease);
    void lease.run().then((seen) => {
      this.leases.delete(partition);
      this.membership.notHeld(partition, grant, seen);
      this.beat.ring();
    });
  }

  private gaveUp = false;

  private giveUp(): void {
    this.gaveUp = true;
    for (const lease of this.leases.values()) this.log(`processor ${this.processor.name}: not finished in time: ${lease.current}`);
    this.beat.ring();
  }
}
