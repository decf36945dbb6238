// Commits what is finished: one call in flight, what is finished meanwhile waits for the next.
import { type Effects, type Sink, Step } from './effects.js';
import { Refused, refusedWith } from './errors.js';
import { PartitionKeys } from './keys.js';
import { type Arg, asNumber } from './link.js';
import type { Raw } from './processor.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';
import type { TableCache } from './table.js';
import type { Tenure } from './tenure.js';
import { effectsOf, sinkOf } from './transact.js';
import { newTurn } from './turns.js';

/** Steps that may wait for their commits. */
const MOST_STEPS = 3;
/** The reader is woken if no more events than this wait for the handler. */
const WAKE_AT = 200;

export class Commits {
  private readonly waiting: Step[] = [];
  private inFlight: Step | undefined;
  private pumping = false;
  /** The last finished event. */
  private finished = '';

  constructor(private readonly tenure: Tenure, private readonly tables: TableCache, private readonly wrote: () => void) {}

  /** Emits go to the outbox: the scripts cannot write to other slots, or older emits wait there. */
  useOutbox = false;

  /** Continue behind the checkpoint of the claim. */
  restart(): void {
    this.finished = this.tenure.checkpoint;
  }

  /** Do as many commits wait as may? */
  get areFull(): boolean {
    return this.waiting.length >= MOST_STEPS;
  }

  /** How many commits wait. */
  get steps(): number {
    return this.waiting.length;
  }

  /** These events are finished, the first ones of the queue. */
  finish(batch: readonly Raw[], effects: Effects): void {
    const { tenure } = this;
    const last = batch.at(-1)!;
    const isReplay = last.parked !== undefined;
    let step = this.waiting.at(-1);
    if (step === undefined || step === this.inFlight || step.replays !== isReplay || !step.add(effects)) {
      step = new Step();
      step.add(effects);
      this.waiting.push(step);
    }
    if (!isReplay) {
      tenure.intake.finished(batch.length);
      this.finished = last.id;
      step.count += batch.length;
    }
    step.end = this.finished;
    this.tables.wrote(effects, this.waiting);
    tenure.suspicion.survived(last.id, batch.length);
    if (tenure.intake.length <= WAKE_AT) tenure.owner.wakeReader(tenure.intake);
    if (!this.pumping) void this.pump();
  }

  /** Wait until everything is committed. Throws the refusal that has ended the lease. */
  async flush(): Promise<void> {
    const { tenure } = this;
    while (this.waiting.length > 0 && tenure.error === undefined) {
      if (!this.pumping) void this.pump();
      await tenure.bell.wait(1000);
    }
    if (tenure.error !== undefined) throw tenure.error;
  }

  /** End the lease. */
  async release(): Promise<void> {
    const { owner, keys, epoch, nonce, checkpoint } = this.tenure;
    await owner.link.call('commit', keys.ofScript, [owner.processor.name, epoch, nonce, checkpoint, checkpoint, 0, 1]);
  }

  private async pump(): Promise<void> {
    this.pumping = true;
    await newTurn(); // What is finished in this turn goes into one commit.
    try {
      while (this.waiting.length > 0 && this.tenure.error === undefined) {
        await this.look();
        this.inFlight = this.waiting[0]!;
        const applied = await this.commit(this.inFlight);
        this.inFlight = undefined;
        if (applied) this.waiting.shift();
        else this.waiting.length = 0; // The next owner processes these events again.
        this.tenure.bell.ring();
      }
    } catch (error) {
      this.tenure.end(error);
    }
    this.pumping = false;
    this.tenure.bell.ring();
  }

  /** The calls go to another server process than that of which was read: is the cursor there? */
  private async look(): Promise<void> {
    const { intake, owner } = this.tenure;
    const { cursor, runId } = intake;
    const current = runId === '' ? '' : await owner.link.runId(intake.log).catch(() => '');
    if (current === '' || current === runId) return;
    const found = (await owner.link.ask(intake.log, (redis) => redis.callBuffer('XRANGE', intake.log, cursor, cursor, 'COUNT', '1'))) as unknown[];
    if (intake.cursor !== cursor) return;
    if (found.length > 0) intake.runId = current;
    else intake.suspect = true; // What is finished is committed, if it is there; then the claim is repeated.
  }

  /** Commit a step. Returns false if its sink has no room and the partition is to be given up. */
  private async commit(step: Step): Promise<boolean> {
    const { tenure } = this;
    const { owner, keys } = tenure;
    const head: Arg[] = [owner.processor.name, tenure.epoch, tenure.nonce, tenure.checkpoint, step.end, step.count, 0];
    const more = step.hasEffects ? effectsOf(step, keys, owner.processor, this.useOutbox) : { keys: [], args: [] };
    for (let told = false; ; ) {
      try {
        const [, paused] = await owner.link.call(step.hasEffects ? 'transact' : 'commit', [...keys.ofScript, ...more.keys], [...head, ...more.args]);
        tenure.checkpoint = step.end;
        if (asNumber(paused) === 1) tenure.stop();
        if (this.useOutbox && step.emits) this.wrote();
        return true;
      } catch (error) {
        const sink = refusedWith(error, 'FULL', 'MISSING') ? error.details['sink'] : undefined;
        if (sink === undefined) throw error;
        if (refusedWith(error, 'MISSING')) {
          await this.declare(sinkOf(step, sink), sink);
          continue;
        }
        if (!told) tenure.log(`: no room in ${sink}: the partition waits`);
        told = true;
        if (tenure.draining) return false;
        await new Promise((done) => setTimeout(done, 200));
      }
    }
  }

  private async declare(sink: Sink | undefined, log: string): Promise<void> {
    if (sink === undefined) throw new Refused(`MISSING sink=${log}`);
    await declareSink(this.tenure, sink);
  }
}

/** Declare the stream of a sink, and its partition, or find that they are other ones. */
export async function declareSink(tenure: Tenure, sink: Sink): Promise<void> {
  const contract = [PROTOCOL, sink.partitions, HASH];
  const first = sink.prefix.replace(/:\d+}/, ':0}');
  await tenure.owner.link.call('declare', [new PartitionKeys(first).meta], contract);
  await tenure.owner.link.call('declare', [new PartitionKeys(sink.prefix).meta], contract);
}
