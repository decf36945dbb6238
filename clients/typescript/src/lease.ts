// One partition under one lease: claimed, worked on, released.
import { setTimeout as sleep } from 'node:timers/promises';

import { claim } from './claim.js';
import { Commits } from './commits.js';
import { Halted, refusedWith } from './errors.js';
import { Failures } from './failures.js';
import { Forwarder } from './forwarder.js';
import { now } from './link.js';
import type { Owner } from './owner.js';
import { Parked } from './parked.js';
import { Promoter } from './promoter.js';
import { Runner } from './runner.js';
import { TableCache } from './table.js';
import { Tenure } from './tenure.js';
import { isWrongType } from './trouble.js';

/** Milliseconds before the next claim of a partition whose keys another program has changed. */
const CLAIM_AGAIN = 1000;

export class Lease {
  readonly tenure: Tenure;
  private readonly tables: TableCache;
  private readonly commits: Commits;
  private readonly parked: Parked;
  private readonly runner: Runner;
  private readonly promoter: Promoter;
  private readonly forwarder: Forwarder;

  constructor(private readonly owner: Owner, partition: number, private readonly grant: number) {
    const tenure = (this.tenure = new Tenure(owner, partition, grant));
    this.tables = new TableCache(owner.link, tenure.keys);
    this.forwarder = new Forwarder(tenure);
    this.commits = new Commits(tenure, this.tables, () => this.forwarder.wrote());
    this.parked = new Parked(tenure);
    const failures = new Failures(tenure, this.commits, this.parked);
    this.runner = new Runner(tenure, this.tables, this.commits, this.parked, failures, () => this.claimAgain());
    this.promoter = new Promoter(tenure);
  }

  /** Hand nothing more out; release once the current event is finished. */
  drain(): void {
    this.tenure.drain();
    this.promoter.stop();
  }

  /** Events may be due sooner than was known. */
  lookForDue(): void {
    this.promoter.look();
  }

  /** What the handler has, for people. */
  get current(): string {
    return `partition ${this.tenure.partition}, event ${this.tenure.intake.at(0)?.id ?? 'none'}`;
  }

  /** From claim to release. Returns the grant that was met there, if another one was. */
  async run(): Promise<number> {
    const { owner, tenure } = this;
    try {
      await this.claim(true);
      if (!owner.claimed(tenure.partition, this.grant)) tenure.drain();
      void this.promoter.run();
      await this.work();
      tenure.drain();
      await this.commits.flush();
      await this.forwarder.leave();
      await this.commits.release();
    } catch (error) {
      if (refusedWith(error, 'STALE_GRANT')) return Number(error.details['seen'] ?? 0);
      if (refusedWith(error, 'FENCED', 'CONFLICT', 'MISSING', 'UNREGISTERED')) {
        tenure.log(`: lost the lease: ${error.message}`);
        if (error.word === 'UNREGISTERED' && error.details['removed'] === '1') owner.fail(error);
      } else if (isWrongType(error)) {
        owner.leaseTrouble.failed(`processor ${owner.processor.name}, partition ${tenure.partition}: its lease`, error, now());
        await sleep(CLAIM_AGAIN);
      } else owner.fail(error);
    } finally {
      tenure.drain();
      this.promoter.stop();
      this.forwarder.stop();
    }
    return 0;
  }

  private async work(): Promise<void> {
    try {
      await this.runner.run();
    } catch (error) {
      if (!(error instanceof Halted)) throw error;
      this.owner.fail(error); // What was finished before is committed.
    }
  }

  /** Events may have been lost: commit what was read before, then ask what is there. */
  private async claimAgain(): Promise<void> {
    await this.commits.flush();
    await this.claim(false);
  }

  private async claim(isFirst: boolean): Promise<void> {
    const { tenure, commits, owner } = this;
    const before = tenure.checkpoint;
    const claimed = await claim(tenure);
    if (before !== tenure.checkpoint) this.tables.clear();
    if (!isFirst) this.forwarder.checkpointMoved(before, tenure.checkpoint);
    commits.restart();
    await this.parked.load(claimed);
    if (isFirst) {
      commits.useOutbox = owner.link.servers.oneSlot || claimed.outbox > 0;
      if (claimed.outbox > 0) this.forwarder.wrote(false);
    }
    tenure.intake.closed = tenure.stopped || tenure.isEnding;
    owner.wakeReader(tenure.intake, true);
  }
}
