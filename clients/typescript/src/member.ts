// One processor's membership of its group, and the partitions held under it.
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

import type { App } from './app.js';
import { Bell } from './bell.js';
import { register } from './claim.js';
import { ConfigError, refusedWith } from './errors.js';
import type { Beats, Heartbeats } from './heartbeats.js';
import type { Intake } from './intake.js';
import { delayedChannel, GroupKeys, PartitionKeys, prefixOf } from './keys.js';
import { Lease } from './lease.js';
import { asNumber, type Link, now } from './link.js';
import { Listener } from './listener.js';
import { type Action, Membership, type Times } from './membership.js';
import type { Owner } from './owner.js';
import { mayRun, type Use } from './preflight.js';
import type { Processor } from './processor.js';
import { Readers } from './readers.js';
import { announce } from './registry.js';
import { HASH } from './routing.js';
import { PROTOCOL, scriptSet, version } from './scripts.js';
import { Trouble } from './trouble.js';

/** Runs one piece of work at a time. */
export interface StartLock {
  run<T>(work: () => Promise<T>): Promise<T>;
}

export class Member implements Owner {
  private readonly leases = new Map<number, Lease>();
  private readonly membership: Membership;
  private readonly keys: GroupKeys;
  private readonly beat = new Bell();
  private readonly readers: Readers;
  private readonly beats: Beats;
  private readonly trouble = new Trouble((text) => this.log(text));
  readonly leaseTrouble = new Trouble((text) => this.log(text));
  private retiring = false;

  constructor(
    private readonly app: App, readonly processor: Processor, readonly link: Link, readonly member: string, private readonly times: Times,
    readonly startLock: StartLock, private readonly thread: Heartbeats, readonly fail: (error: unknown) => void,
  ) {
    const { stream, name } = processor;
    this.keys = new GroupKeys(app.name, stream.name, name);
    const description = `${hostname()} ${process.pid} typescript ${version()} ${scriptSet()}`;
    this.beats = thread.member([this.keys.plan, this.keys.members, this.keys.sessions], () => this.beat.ring());
    const incarnation = randomBytes(16).toString('hex');
    this.membership = new Membership(stream.partitions, times, { id: member, incarnation, description }, this.beats);
    this.readers = new Readers(link, (text) => this.log(`processor ${name}: ${text}`));
  }

  readonly log = (text: string): void => this.app.log(text);
  deadline(): number {
    return Math.max(this.membership.deadline, this.beats.deadline);
  }
  claimed(partition: number, grant: number): boolean {
    const isCurrent = this.membership.claimed(partition, grant);
    this.report();
    return isCurrent;
  }
  heartbeat(): void {
    this.beat.ring();
  }
  wakeReader(intake: Intake, force = false): void {
    this.readers.wake(intake, force);
  }

  async run(stop: AbortSignal, shutdownTimeout: number): Promise<void> {
    const delayed = delayedChannel(this.app.name, this.processor.stream.name);
    const lookForDue = (): void => {
      for (const lease of this.leases.values()) lease.lookForDue();
    };
    const heard = (channel: string): void => (channel === delayed ? lookForDue() : this.beat.ring());
    let listener: Listener | undefined;
    let late: NodeJS.Timeout | undefined;
    const onStop = (): void => {
      this.retiring = true;
      for (const lease of this.leases.values()) lease.drain();
      late ??= setTimeout(() => this.giveUp(), shutdownTimeout);
      this.beat.ring();
    };
    try {
      await this.register();
      listener = new Listener(this.link.servers, [this.keys.wake, delayed], heard, lookForDue);
      await this.thread.ready; // A handler may keep the event loop from the first event on.
      if (stop.aborted) return;
      stop.addEventListener('abort', onStop, { once: true });
      await this.heartbeats();
    } catch (error) {
      this.fail(refusedWith(error, 'REPLACED') ? new ConfigError(`another worker has started under the name ${this.member}, so this one ends`) : error);
    } finally {
      clearTimeout(late);
      stop.removeEventListener('abort', onStop);
      listener?.stop();
      await this.readers.stop();
    }
  }

  private async register(): Promise<void> {
    const { processor, link, app } = this;
    const { stream } = processor;
    await mayRun(link, app.name, this.keys.plan, this.uses());
    await link.call('declare', [new PartitionKeys(stream.prefix(0)).meta], [PROTOCOL, stream.partitions, HASH]);
    for (let n = 0; n < stream.partitions; n++) {
      if ((await register(link, processor, n)) === 2) this.log(`processor ${processor.name}, partition ${n}: its keys were lost, and are restored`);
    }
    await announce(link, processor, this.log);
  }

  /** What this member runs, on the first partition: the others are like it. */
  private uses(): Use[] {
    const { processor, keys } = this;
    const { stream, name, options, policy, tables, dead } = processor;
    const own = new PartitionKeys(stream.prefix(0), name);
    const letters = new PartitionKeys(prefixOf(this.app.name, stream.source, 0, dead));
    const effects = [
      ...[...tables.keys()].map((each) => own.table(each)),
      ...(options.deadLetters ? [letters.log, letters.meta] : []),
      ...(policy === 'park' ? [own.parked, own.parkedKeys] : []),
    ];
    return [
      { script: 'declare', keys: [own.meta] },
      ...['register', 'claim', 'commit'].map((each) => ({ script: each, keys: own.ofScript })),
      { script: 'attempt', keys: [own.state] },
      { script: 'promote', keys: [own.log, own.meta, own.delayed] },
      { script: 'sync', keys: [keys.plan, keys.members, keys.sessions] },
      ...(effects.length > 0 ? [{ script: 'transact', keys: [...own.ofScript, ...effects] }] : []),
      { words: ['XREAD', 'STREAMS', own.log, '0'] },
      { words: ['XRANGE', own.log] },
    ];
  }

  private report(): void {
    this.beats.report(this.membership.report(this.retiring ? 'retire' : 'stay', 0));
  }

  /** Until the group was left. */
  private async heartbeats(): Promise<void> {
    const { plan, members, sessions } = this.keys;
    for (let left = false; !left && !this.gaveUp; ) {
      const isDone = this.retiring && this.leases.size === 0 && !this.membership.mustReport;
      const action: Action = isDone ? 'leave' : this.retiring ? 'retire' : 'stay';
      if (isDone) await this.beats.end(this.link.options.timeout);
      const call = this.membership.next(action, now());
      let wait = 100;
      try {
        // After the first one, a call that gets no answer is not repeated: the next one says what is true by then.
        const reply = await this.link.call('sync', [plan, members, sessions], call.args, { until: now() + this.link.options.timeout, onlyIfNotRun: true });
        this.trouble.over();
        const changes = this.membership.replied(call, reply);
        left = action === 'leave';
        if (!left) {
          this.beats.answered(call.sent + asNumber(reply[2]), asNumber(reply[2]));
          this.report();
        }
        wait = changes.wait;
        for (const partition of changes.drain) this.leases.get(partition)?.drain();
        if (!left) for (const { partition, grant } of changes.claim) this.claim(partition, grant);
      } catch (error) {
        if (error instanceof ConfigError || refusedWith(error, 'REPLACED', 'MISMATCH', 'BADARG')) throw error;
        if (isDone) return; // The session ends by itself.
        const end = this.trouble.failed(`processor ${this.processor.name}: its heartbeat`, error, now());
        if (end !== undefined) throw end;
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
    this.readers.add(lease.tenure.intake);
    void lease.run().then((seen) => {
      this.leases.delete(partition);
      this.readers.remove(lease.tenure.intake);
      this.membership.notHeld(partition, grant, seen);
      this.report();
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
