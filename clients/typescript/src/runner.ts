// Gives the events of one partition to the handler, in order: the next one when the one before is finished.
import { isPromise, leftOver } from './checks.js';
import type { Commits } from './commits.js';
import { Effects } from './effects.js';
import { ConfigError, HandlerTimeout } from './errors.js';
import type { Failures } from './failures.js';
import { now } from './link.js';
import type { Parked } from './parked.js';
import { Event, type Raw } from './processor.js';
import type { TableCache } from './table.js';
import type { Tenure } from './tenure.js';
import { newTurn, turnIsLong } from './turns.js';

export class Runner {
  /** Where the events of this partition come from, for `Event`. */
  private readonly of;

  constructor(
    private readonly tenure: Tenure, tables: TableCache, private readonly commits: Commits, private readonly parked: Parked,
    private readonly failures: Failures, private readonly claimAgain: () => Promise<void>,
  ) {
    this.of = { processor: tenure.owner.processor, partition: tenure.partition, read: tables.read };
  }

  /** Work until the lease is to end. Throws what has ended it. */
  async run(): Promise<void> {
    const { tenure, commits } = this;
    const { intake, bell } = tenure;
    while (!tenure.draining) {
      if (tenure.error !== undefined) throw tenure.error;
      if (tenure.stopped) await bell.wait(1000);
      else if (this.parked.replays) await this.replay();
      else if (intake.length === 0) {
        if (intake.suspect) await this.claimAgain();
        else await bell.wait(1000);
      } else if (commits.areFull) await bell.wait(1000);
      else if (turnIsLong()) await newTurn();
      else if (this.parked.has(intake.at(0)!)) this.parkBehind(intake.at(0)!);
      else {
        const working = this.process(this.batch());
        if (working !== undefined) await working; // Of a plain function, nothing is left to wait for.
      }
    }
  }

  private batch(): Raw[] {
    const { suspicion, intake, owner } = this.tenure;
    const most = suspicion.oneByOne ? 1 : owner.processor.size;
    if (most === 1) return [intake.at(0)!];
    const batch: Raw[] = [];
    for (let raw = intake.at(0); raw !== undefined && batch.length < most; raw = intake.at(batch.length)) {
      if (batch.length > 0 && this.parked.has(raw)) break;
      batch.push(raw);
    }
    return batch;
  }

  /** It comes after a parked event of its key. */
  private parkBehind(raw: Raw): void {
    const effects = new Effects();
    this.parked.park(effects, raw);
    this.commits.finish([raw], effects);
  }

  /** Process these events once. They stay in the queue unless they are finished. */
  private process(batch: Raw[]): Promise<void> | undefined {
    const { suspicion, owner } = this.tenure;
    const isUsual = !suspicion.commitFirst && !suspicion.alone && owner.processor.options.commit !== 'each';
    if (isUsual && this.sessionLives()) return this.give(batch);
    return this.processCarefully(batch);
  }

  private async processCarefully(batch: Raw[]): Promise<void> {
    const { suspicion, owner } = this.tenure;
    if (suspicion.commitFirst || owner.processor.options.commit === 'each') await this.commits.flush();
    if (suspicion.alone) await owner.startLock.run(() => this.start(batch));
    else await this.start(batch);
  }

  /** Record the start, if workers died here, and give the events to the handler while the session lives. */
  private async start(batch: Raw[]): Promise<void> {
    const { tenure } = this;
    const { suspicion, owner } = tenure;
    const first = batch[0]!;
    if (!this.sessionLives() && !(await this.sessionIsRenewed())) return;
    const before = this.failuresOf(first);
    if (suspicion.killsWorkers(first.id, owner.processor.retries)) {
      await this.failures.failed([first], new Error(`event ${first.id} failed or ended its worker ${before} times`), true);
      return;
    }
    if (suspicion.recorded) {
      if (await tenure.attempt('start', first.id, before)) return;
      if (tenure.draining || (!this.sessionLives() && !(await this.sessionIsRenewed()))) return;
    }
    await this.give(batch);
  }

  private failuresOf({ id }: Raw): number {
    const { suspicion } = this.tenure;
    return id === suspicion.event ? suspicion.attempts : 0;
  }

  /** Give events to the handler, and finish them or say that they failed. */
  private give(batch: Raw[]): Promise<void> | undefined {
    const effects = new Effects();
    const events = batch.map((raw, i) => new Event(this.of, raw, i === 0 ? this.failuresOf(raw) + 1 : 1, effects));
    const outcome = this.handle(events, effects);
    if (outcome !== undefined) return this.settle(batch, effects, outcome);
    this.commits.finish(batch, effects);
    return undefined;
  }

  private async settle(batch: Raw[], effects: Effects, outcome: Outcome | Promise<Outcome>): Promise<void> {
    const failure = await outcome;
    if (failure !== undefined) await this.failures.failed(batch, failure.was);
    else this.commits.finish(batch, effects);
  }

  /** Run the handler. Returns what it threw, if it did; for a plain function at once. What it writes later has no effect. */
  private handle(events: Event<any>[], effects: Effects): Outcome | Promise<Outcome> {
    const { handler, timeout } = this.tenure.owner.processor;
    const failed = (was: unknown): Outcome => {
      effects.closed = true;
      return { was };
    };
    const finished = (result: unknown): Outcome => {
      const left = leftOver(result);
      if (left !== undefined) return failed(new ConfigError(`the handler has returned ${left}`));
      effects.closed = true;
      return undefined;
    };
    try {
      const done = handler(events);
      if (!isPromise(done)) return finished(done);
      return Promise.resolve(timeout === undefined ? done : withTimeout(done, timeout)).then(finished).catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  /** Process the parked events that an operator wants replayed, before anything is read. */
  private async replay(): Promise<void> {
    await this.parked.replayAll((raw) => this.replayed(raw));
    if (this.parked.replays) return;
    await this.commits.flush();
    this.tenure.owner.wakeReader(this.tenure.intake);
  }

  /** One try of a replayed event. Returns true once it is finished. */
  private async replayed(raw: Raw): Promise<boolean> {
    const { tenure, commits } = this;
    await commits.flush();
    const attempts = this.failuresOf(raw);
    if (tenure.suspicion.recorded && (await tenure.attempt('start', raw.id, attempts))) return false;
    if (tenure.draining || (!this.sessionLives() && !(await this.sessionIsRenewed()))) return false;
    const effects = new Effects();
    const failure = await this.handle([new Event(this.of, raw, attempts + 1, effects)], effects);
    if (failure !== undefined) {
      const { steps } = commits;
      await this.failures.failed([raw], failure.was);
      return commits.steps > steps; // The policy `ignore` has finished it.
    }
    this.parked.unpark(effects, raw);
    commits.finish([raw], effects);
    return true;
  }

  private sessionLives(): boolean {
    return now() < this.tenure.owner.deadline();
  }

  /** Wait until a `sync` is answered. Returns false if the lease ends before that. */
  private async sessionIsRenewed(): Promise<boolean> {
    const { tenure } = this;
    while (!this.sessionLives()) {
      if (tenure.isEnding) return false;
      tenure.owner.heartbeat();
      await tenure.bell.wait(50);
    }
    return !tenure.isEnding; // The reply that renews the session may be the one that ends the lease.
  }
}

/** What a handler has thrown, if it has. */
type Outcome = { readonly was: unknown } | undefined;

/** Wait for what a handler does, at most so many milliseconds. */
async function withTimeout(running: PromiseLike<unknown>, timeout: number): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new HandlerTimeout(`it took longer than timeout=${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([running, late]); // If it fails later, that has no effect any more.
  } finally {
    clearTimeout(timer);
  }
}
