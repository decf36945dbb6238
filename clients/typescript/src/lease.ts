// One partition under one lease: claims it, hands its events to the handler in order, commits, releases.
import { randomBytes } from 'node:crypto';

import { Bell } from './bell.js';
import { encodeEntry } from './codec.js';
import { Effects, Step } from './effects.js';
import { DecodeError, described, Halted, HandlerTimeout, Refused, refusedWith, TooManyWrites } from './errors.js';
import { PartitionKeys, prefixOf } from './keys.js';
import { type Arg, asNumber, asText, type Link, now, type Reply } from './link.js';
import { Event, type Processor, type Raw } from './processor.js';
import { HASH, keyBytes } from './routing.js';
import { PROTOCOL } from './scripts.js';
import { Suspicion } from './suspicion.js';

/** Steps that may wait for their commits, and fields of tables that are remembered. */
const MOST_STEPS = 3;
/** The reader is woken if no more events than this wait for the handler. */
const WAKE_AT = 100;
/** Milliseconds after which delayed events are looked for although none was said to be due. */
const LOOK_FOR_DUE = 60_000;
const MOST_KNOWN = 20_000;

/** What a lease needs of its member. */
export interface Owner {
  readonly link: Link;
  readonly processor: Processor;
  readonly member: string;
  /** One suspected event of this worker at a time. */
  readonly startLock: { run<T>(work: () => Promise<T>): Promise<T> };
  /** The session has surely not ended before this time. */
  deadline(): number;
  /** The claim succeeded. False if the grant is not the current one any more. */
  claimed(partition: number, grant: number): boolean;
  heartbeat(): void;
  /** The lease has room for events. With `force`, a read that covers it already is of no use. */
  wakeReader(lease: Lease, force?: boolean): void;
  fail(error: unknown): void;
  log(text: string): void;
}

export class Lease {
  readonly keys: PartitionKeys;
  /** What was read and not finished. */
  readonly queue: Raw[] = [];
  /** The id after which to read, and a number that changes when what is read meanwhile is of no use. */
  cursor = '';
  version = 0;
  checkpointExists = false;
  nextId = '';
  /** Events behind the cursor may have been lost: nothing is read until the claim was repeated. */
  suspect = false;
  readonly bell = new Bell();
  private readonly due = new Bell();
  private readonly nonce = randomBytes(16).toString('hex');
  private epoch = '';
  private checkpoint = '';
  private finished = '';
  private suspicion = new Suspicion('', 0, 0, 0);
  private steps: Step[] = [];
  private inFlight: Step | undefined;
  private pumping = false;
  private error: unknown;
  private draining = false;
  private stopped = false;
  private isOpen = false;
  private readonly known = new Map<string, Buffer | null>();
  private parkedKeys = new Map<string, number>();
  private replayKeys = new Set<string>();

  constructor(private readonly owner: Owner, readonly partition: number, readonly grant: number) {
    this.keys = new PartitionKeys(owner.processor.stream.prefix(partition), owner.processor.name);
  }

  /** May more be read? */
  readable(most: number): boolean {
    return this.isOpen && !this.draining && !this.stopped && !this.suspect && this.replayKeys.size === 0 && this.queue.length < most;
  }

  /** Hand nothing more out; release once the current event is finished. */
  drain(): void {
    this.draining = true;
    this.bell.ring();
    this.due.ring();
  }

  /** What the handler has, for people. */
  get current(): string {
    return `partition ${this.partition}, event ${this.queue[0]?.id ?? 'none'}`;
  }

  /** From claim to release. Returns the grant that was met there, if another one was. */
  async run(): Promise<number> {
    const { owner, partition } = this;
    try {
      await this.claim();
      if (!owner.claimed(partition, this.grant)) this.draining = true;
      this.isOpen = true;
      owner.wakeReader(this);
      void this.promote();
      try {
        await this.work();
      } catch (error) {
        if (!(error instanceof Halted)) throw error;
        owner.fail(error);
      }
      this.draining = true;
      await this.flush();
      await this.release();
    } catch (error) {
      if (refusedWith(error, 'STALE_GRANT')) return Number(error.details['seen'] ?? 0);
      if (refusedWith(error, 'FENCED', 'CONFLICT', 'MISSING', 'UNREGISTERED')) {
        owner.log(`processor ${owner.processor.name}, partition ${partition}: lost the lease: ${error.message}`);
        if (error.word === 'UNREGISTERED' && error.details['removed'] === '1') owner.fail(error);
      } else owner.fail(error);
    } finally {
      this.isOpen = false;
      this.bell.ring();
      this.due.ring();
    }
    return 0;
  }

  // Delayed events

  /** Events may be due sooner than was known. */
  lookForDue(): void {
    this.due.ring();
  }

  /** Let events that are due enter the log, while the partition is open. */
  private async promote(): Promise<void> {
    const { link, processor, log } = this.owner;
    const { stream } = processor;
    const { log: events, meta, delayed } = this.keys;
    for (let told = false; this.isOpen && !this.draining; ) {
      let wait = LOOK_FOR_DUE;
      try {
        const args = [PROTOCOL, stream.partitions, HASH, stream.size, 'refuse'];
        const [moved, , nextIn, lost] = await link.call('promote', [events, meta, delayed], args);
        if (asNumber(lost) > 0) log(`stream ${stream.name}, partition ${this.partition}: ${asText(lost)} delayed events are lost`);
        if (asNumber(nextIn) >= 0) wait = Math.min(wait, asNumber(nextIn));
        if (asNumber(moved) > 0) told = false;
      } catch (error) {
        if (!refusedWith(error, 'FULL')) return; // What is wrong with the partition, its claim or commit says.
        if (!told) log(`stream ${stream.name}, partition ${this.partition}: events that are due wait for room`);
        told = true;
        wait = 1000;
      }
      if (wait > 0) await this.due.wait(wait);
    }
  }

  // Claim

  private async claim(): Promise<void> {
    const { link, processor, member } = this.owner;
    const { stream } = processor;
    for (let accept = ''; ; ) {
      let reply: Reply;
      try {
        const args = [PROTOCOL, stream.partitions, HASH, processor.name, member, this.grant, this.nonce, accept];
        reply = await link.call('claim', this.keys.ofScript, args);
      } catch (error) {
        const lost = refusedWith(error, 'MISSING') || (refusedWith(error, 'UNREGISTERED') && error.details['removed'] !== '1');
        if (!lost) throw error;
        this.owner.log(`processor ${processor.name}, partition ${this.partition}: its keys were lost (${error.message}): registered again`);
        await register(link, processor, this.partition);
        continue;
      }
      const lost = asNumber(reply[8]);
      if (lost < 0) {
        await this.take(reply);
        return;
      }
      this.owner.log(
        `processor ${processor.name}, partition ${this.partition}: LOST ${asNumber(reply[9]) ? '' : 'at least '}${lost} events after ${asText(reply[1])}`,
      );
      accept = String(lost);
    }
  }

  private async take(reply: Reply): Promise<void> {
    const [epoch, checkpoint, , attempts, event, tenures, paused, quarantined, , , exists, nextId, deaths, , , parked, replay] = reply;
    if (this.epoch !== '' && this.epoch !== asText(epoch)) throw new Refused(`FENCED epoch=${asText(epoch)}`);
    this.epoch = asText(epoch);
    if (this.checkpoint !== asText(checkpoint)) this.known.clear();
    this.checkpoint = this.finished = this.cursor = asText(checkpoint);
    this.checkpointExists = asNumber(exists) === 1;
    this.nextId = asText(nextId);
    this.suspicion = new Suspicion(asText(event), asNumber(attempts), asNumber(deaths), asNumber(tenures));
    this.stopped = asNumber(paused) === 1 || asNumber(quarantined) === 1;
    this.queue.length = 0;
    this.version += 1;
    this.suspect = false;
    const { link } = this.owner;
    if (asNumber(parked) > 0) {
      const pairs = (await link.ask((redis) => redis.callBuffer('HGETALL', this.keys.parkedKeys))) as Buffer[];
      this.parkedKeys = new Map();
      for (let i = 0; i + 1 < pairs.length; i += 2) this.parkedKeys.set(hex(pairs[i]!), parseInt(pairs[i + 1]!.toString(), 10));
    }
    if (asNumber(replay) > 0) {
      const names = (await link.ask((redis) => redis.callBuffer('HKEYS', this.keys.replay))) as Buffer[];
      this.replayKeys = new Set(names.map(hex));
    }
    this.owner.wakeReader(this, true);
  }

  // Work

  private async work(): Promise<void> {
    while (!this.draining) {
      if (this.error !== undefined) throw this.error;
      if (this.stopped) await this.bell.wait(1000);
      else if (this.replayKeys.size > 0) await this.replay();
      else if (this.queue.length === 0) {
        if (this.suspect) {
          await this.flush();
          await this.claim();
        } else await this.bell.wait(1000);
      } else if (this.steps.length >= MOST_STEPS) await this.bell.wait(1000);
      else if (this.isParked(this.queue[0]!)) this.parkBehind(this.queue.shift()!);
      else await this.process(this.batch());
    }
  }

  private batch(): Raw[] {
    const most = this.suspicion.oneByOne ? 1 : this.owner.processor.size;
    const batch: Raw[] = [];
    for (const raw of this.queue) {
      if (batch.length >= most || (batch.length > 0 && this.isParked(raw))) break;
      batch.push(raw);
    }
    return batch;
  }

  /** Process these events once. They stay in the queue unless they are finished. */
  private async process(batch: Raw[]): Promise<void> {
    const { suspicion } = this;
    if (suspicion.commitFirst || this.owner.processor.options.commit === 'each') await this.flush();
    if (suspicion.alone) await this.owner.startLock.run(() => this.processNow(batch));
    else await this.processNow(batch);
  }

  private async processNow(batch: Raw[]): Promise<void> {
    const { suspicion, owner } = this;
    const { processor } = owner;
    const first = batch[0]!;
    if (!(await this.sessionIsAlive())) return;
    const before = first.id === suspicion.event ? suspicion.attempts : 0;
    if (suspicion.killsWorkers(first.id, processor.retries)) {
      await this.failed([first], new Error(`event ${first.id} failed or ended its worker ${before} times`), true);
      return;
    }
    if (suspicion.recorded && (await this.attempt('start', first.id, before))) return;
    if (this.draining || !(await this.sessionIsAlive())) return;
    const effects = new Effects();
    const of = { processor, partition: this.partition, read: this.readField };
    const events = batch.map((raw, i) => new Event(of, raw, i === 0 ? before + 1 : 1, effects));
    try {
      await this.handled(events);
    } catch (error) {
      effects.closed = true;
      await this.failed(batch, error);
      return;
    }
    effects.closed = true;
    this.finish(batch, effects);
  }

  private async handled(events: Event<any>[]): Promise<void> {
    const { processor } = this.owner;
    const { timeout } = processor;
    const running = (async () => {
      await processor.handler(events);
    })();
    if (timeout === undefined) return running;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, fail) => {
      timer = setTimeout(() => fail(new HandlerTimeout(`it took longer than timeout=${timeout} ms`)), timeout);
    });
    running.catch(() => undefined); // It may fail later: that has no effect any more.
    try {
      await Promise.race([running, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  private async sessionIsAlive(): Promise<boolean> {
    while (now() >= this.owner.deadline()) {
      if (this.draining || this.error !== undefined) return false;
      this.owner.heartbeat();
      await this.bell.wait(50);
    }
    return true;
  }

  /** The last committed value of a field of a table, or what a finished event has written since. */
  private readonly readField = async (table: string, field: Buffer): Promise<Buffer | null> => {
    const name = `${table} ${hex(field)}`;
    const known = this.known.get(name);
    if (known !== undefined) return known;
    const found = await this.owner.link.ask((redis) => redis.hgetBuffer(this.keys.table(table), field));
    if (!this.known.has(name)) this.known.set(name, found);
    return this.known.get(name) ?? null;
  };

  // Finish and commit

  private finish(batch: Raw[], effects: Effects): void {
    const last = batch.at(-1)!;
    const isReplay = last.parked !== undefined;
    let step = this.steps.at(-1);
    if (step === undefined || step === this.inFlight || step.replays !== isReplay || !step.add(effects)) {
      step = new Step();
      step.add(effects);
      this.steps.push(step);
    }
    if (!isReplay) {
      this.queue.splice(0, batch.length);
      this.finished = last.id;
      step.count += batch.length;
    }
    step.end = this.finished;
    for (const [name, { value }] of effects.writes) this.known.set(name, value);
    this.forget();
    this.suspicion.survived(last.id, batch.length);
    if (this.queue.length <= WAKE_AT) this.owner.wakeReader(this);
    void this.pump();
  }

  private forget(): void {
    if (this.known.size <= MOST_KNOWN || this.steps.length > 0) return; // What waits for a commit must stay known.
    for (const name of this.known.keys()) {
      if (this.known.size <= (MOST_KNOWN * 3) / 4) return;
      this.known.delete(name);
    }
  }

  /** One commit in flight; what is finished meanwhile waits for the next. */
  private async pump(): Promise<void> {
    if (this.pumping) return;
    this.pumping = true;
    try {
      while (this.steps.length > 0 && this.error === undefined) {
        this.inFlight = this.steps[0]!;
        const applied = await this.commit(this.inFlight);
        this.inFlight = undefined;
        if (applied) this.steps.shift();
        else this.steps.length = 0; // The next owner processes these events again.
      }
    } catch (error) {
      this.error = error;
    }
    this.pumping = false;
    this.bell.ring();
  }

  private async flush(): Promise<void> {
    while (this.steps.length > 0 && this.error === undefined) {
      void this.pump();
      await this.bell.wait(1000);
    }
    if (this.error !== undefined) throw this.error;
  }

  /** Commit a step. Returns false if its sink has no room and the partition is to be given up. */
  private async commit(step: Step): Promise<boolean> {
    const { link, processor, log } = this.owner;
    const head: Arg[] = [processor.name, this.epoch, this.nonce, this.checkpoint, step.end, step.count, 0];
    const more = step.hasEffects ? step.call(this.keys, processor.parkLimit) : { keys: [], args: [] };
    let told = false;
    for (;;) {
      try {
        const keys = [...this.keys.ofScript, ...more.keys];
        const [, paused] = await link.call(step.hasEffects ? 'transact' : 'commit', keys, [...head, ...more.args]);
        this.checkpoint = step.end;
        this.paused(asNumber(paused) === 1);
        return true;
      } catch (error) {
        const sink = refusedWith(error, 'FULL', 'MISSING') ? error.details['sink'] : undefined;
        if (sink === undefined) throw error;
        if (refusedWith(error, 'MISSING')) {
          await this.declareSink(step, sink);
          continue;
        }
        if (!told) log(`processor ${processor.name}, partition ${this.partition}: no room in ${sink}: the partition waits`);
        told = true;
        if (this.draining) return false;
        await new Promise((done) => setTimeout(done, 200));
      }
    }
  }

  private async declareSink(step: Step, log: string): Promise<void> {
    const sink = step.sinkOf(log);
    if (sink === undefined) throw new Refused(`MISSING sink=${log}`);
    const contract = [PROTOCOL, sink.partitions, HASH];
    const first = sink.prefix.replace(/:\d+}/, ':0}');
    await this.owner.link.call('declare', [new PartitionKeys(first).meta], contract);
    await this.owner.link.call('declare', [new PartitionKeys(sink.prefix).meta], contract);
  }

  private async release(): Promise<void> {
    const args = [this.owner.processor.name, this.epoch, this.nonce, this.checkpoint, this.checkpoint, 0, 1];
    await this.owner.link.call('commit', this.keys.ofScript, args);
  }

  private paused(isPaused: boolean): void {
    if (isPaused) this.stopped = true;
  }

  // Failures

  private async failed(batch: Raw[], error: unknown, killed = false): Promise<void> {
    const { suspicion, owner } = this;
    const { processor } = owner;
    const first = batch[0]!;
    const attempts = killed ? suspicion.attempts : suspicion.failed(first.id);
    const noRetry = killed || error instanceof TooManyWrites || error instanceof DecodeError;
    const again = !noRetry && attempts <= processor.retries;
    const giveUp = !again && (batch.length === 1 || suspicion.isolating);
    const [type, message] = described(error);
    owner.log(
      `processor ${processor.name}, partition ${this.partition}, event ${first.id} failed (attempt ${attempts})` +
        `${again ? '' : giveUp ? `, policy ${processor.policy}` : ', retrying its batch one by one'}: ${type}: ${message}`,
    );
    if (await this.attempt('failure', first.id, batch.length === 1 ? attempts : 0, type, message)) return;
    if (giveUp) await this.applyPolicy(first, attempts, type, message, error);
    else if (again) await this.pause(processor.delay(attempts));
    else suspicion.isolate(batch.at(-1)!.id);
  }

  private async applyPolicy(raw: Raw, attempts: number, type: string, message: string, error: unknown): Promise<void> {
    const { processor, log } = this.owner;
    const { policy } = processor;
    if (policy === 'halt') {
      throw new Halted(`processor ${processor.name}, partition ${this.partition}: event ${raw.id} failed ${attempts} times: ${message}`, { cause: error });
    }
    if (policy === 'quarantine' && raw.parked === undefined) {
      await this.attempt('quarantine', raw.id, attempts, type, message);
      this.stopped = true;
      log(`processor ${processor.name}: partition ${this.partition} is quarantined: runnel processor resume, with --skip to leave the event out`);
      return;
    }
    const effects = new Effects();
    if (raw.parked !== undefined && policy !== 'ignore') {
      const failure = `${raw.id} ${attempts} ${type} ${message}`;
      const keys = [this.keys.state, this.keys.parkedKeys, this.keys.replay];
      await this.owner.link.call('park_again', keys, [this.epoch, this.nonce, raw.parked.key, cut(failure, 1200)]);
      this.replayKeys.delete(hex(raw.parked.key));
      return;
    }
    if (raw.parked !== undefined) this.unpark(raw, effects);
    if (policy === 'park') this.parkInto(effects, raw, attempts, type, message);
    else if (processor.options.deadLetters) effects.emit(this.deadSink(), this.letter(raw, attempts, type, message));
    this.finish([raw], effects);
  }

  private deadSink(): { prefix: string; partitions: number; size: number; derived: boolean } {
    const { stream, dead } = this.owner.processor;
    const prefix = prefixOf(stream.app.name, stream.source, this.partition, dead);
    return { prefix, partitions: stream.partitions, size: stream.size, derived: true };
  }

  private letter(raw: Raw, attempts: number, type: string, message: string): Uint8Array[] {
    const { stream, name } = this.owner.processor;
    const error = { error_type: type, error_message: message.slice(0, 1000) };
    const at = new Date().toISOString();
    return encodeEntry({ stream: stream.name, processor: name, partition: this.partition, event: raw.id, attempts, ...error, at, fields: raw.fields });
  }

  /** Report a start, a failure or a quarantine. Returns true if the partition is paused. */
  private async attempt(kind: string, event: string, attempts: number, type = '', message = ''): Promise<boolean> {
    const args = [this.epoch, this.nonce, kind, event, attempts, cut(type, 1000), cut(message, 4000)];
    const [paused] = await this.owner.link.call('attempt', [this.keys.state], args);
    this.paused(asNumber(paused) === 1);
    return this.stopped;
  }

  private async pause(milliseconds: number): Promise<void> {
    for (let until = now() + milliseconds; now() < until && !this.draining && this.error === undefined; ) {
      await this.bell.wait(until - now());
    }
  }

  // Parked events

  private isParked(raw: Raw): boolean {
    return this.parkedKeys.size > 0 && this.parkedKeys.has(hex(this.keyOf(raw)));
  }

  /** The key of an event, empty if it cannot be read. */
  private keyOf(raw: Raw): Buffer {
    try {
      const { stream } = this.owner.processor;
      return Buffer.from(keyBytes(stream.keyOf(stream.decode(raw.fields))));
    } catch {
      return Buffer.alloc(0);
    }
  }

  private parkBehind(raw: Raw): void {
    const effects = new Effects();
    this.parkInto(effects, raw, 0, '', '');
    this.queue.unshift(raw); // `finish` takes it from there.
    this.finish([raw], effects);
  }

  private parkInto(effects: Effects, raw: Raw, attempts: number, type: string, message: string): void {
    const key = this.keyOf(raw);
    this.parkedKeys.set(hex(key), (this.parkedKeys.get(hex(key)) ?? 0) + 1);
    const head = { key, event: raw.id, attempts: String(attempts), error_type: cut(type, 1000), error_message: cut(message, 4000) };
    effects.parked.push([...Object.entries(head).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]), ...raw.fields]);
  }

  private unpark(raw: Raw, effects: Effects): void {
    const name = hex(raw.parked!.key);
    const left = (this.parkedKeys.get(name) ?? 1) - 1;
    if (left > 0) this.parkedKeys.set(name, left);
    else {
      this.parkedKeys.delete(name);
      this.replayKeys.delete(name);
    }
    effects.replayed.push(raw.parked!.entry);
  }

  /** Process the parked events that an operator wants replayed, in order, before anything is read. */
  private async replay(): Promise<void> {
    for (let from = '-'; this.replayKeys.size > 0; ) {
      const page = (await this.owner.link.ask((redis) => redis.callBuffer('XRANGE', this.keys.parked, from, '+', 'COUNT', '100'))) as [Buffer, Buffer[]][];
      for (const [entry, fields] of page) {
        const raw = { id: asText(fields[3]), fields: fields.slice(10), parked: { entry: entry.toString(), key: fields[1]! } };
        while (this.replayKeys.has(hex(raw.parked.key)) && !(await this.replayed(raw))) {
          if (this.draining || this.stopped || this.error !== undefined) return;
        }
      }
      if (page.length < 100) break;
      from = `(${page.at(-1)![0].toString()}`;
    }
    this.replayKeys.clear();
    await this.flush();
    this.owner.wakeReader(this);
  }

  /** One try of a replayed event. Returns true once it is finished. */
  private async replayed(raw: Raw): Promise<boolean> {
    await this.flush();
    if (this.suspicion.recorded && (await this.attempt('start', raw.id, this.suspicion.attempts))) return false;
    if (this.draining || !(await this.sessionIsAlive())) return false;
    const effects = new Effects();
    const of = { processor: this.owner.processor, partition: this.partition, read: this.readField };
    const attempt = raw.id === this.suspicion.event ? this.suspicion.attempts + 1 : 1;
    try {
      await this.handled([new Event(of, raw, attempt, effects)]);
    } catch (error) {
      effects.closed = true;
      const steps = this.steps.length;
      await this.failed([raw], error);
      return this.steps.length > steps; // The policy `ignore` has finished it.
    }
    effects.closed = true;
    this.unpark(raw, effects);
    this.finish([raw], effects);
    return true;
  }
}

/** Register a processor on a partition, where its keys were lost, or at the start of a worker. */
export async function register(link: Link, processor: Processor, partition: number): Promise<number> {
  const { stream, name, options } = processor;
  const contract = [PROTOCOL, stream.partitions, HASH];
  if (partition > 0) await link.call('declare', [new PartitionKeys(stream.prefix(0)).meta], contract);
  const keys = new PartitionKeys(stream.prefix(partition), name).ofScript;
  const [created] = await link.call('register', keys, [...contract, name, options.start === 'latest' ? '$' : '0']);
  return asNumber(created);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
/** The first bytes of a text: a script refuses a longer one. */
const cut = (text: string, most: number): Buffer => Buffer.from(text).subarray(0, most);
