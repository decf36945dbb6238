// Forwards what commits have written to the outbox: to streams in other slots of a Redis Cluster.
//
// Each append is repeated until it is answered, and its target recognises repeats. So nothing is lost and nothing comes twice,
// wherever a worker dies: the next owner of the lease begins with the oldest entry that is left.
import { setTimeout as sleep } from 'node:timers/promises';

import { Bell } from './bell.js';
import { declareSink } from './commits.js';
import { ConfigError, Refused, refusedWith } from './errors.js';
import { isAfter } from './ids.js';
import { PartitionKeys } from './keys.js';
import { type Arg, asNumber, asText, now } from './link.js';
import { Outbox, type OutboxTarget, PAGE } from './outbox.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';
import { cut, type Tenure } from './tenure.js';

/** Milliseconds for which the release of a partition waits for its outbox, and before a full target is asked again. */
const PATIENCE = 1000;
const PAUSE = 200;

export class Forwarder {
  private readonly outbox: Outbox;
  private readonly sender: string;
  private readonly bell = new Bell();
  private running = false;
  private over = false;
  private hasWritten = false;

  constructor(private readonly tenure: Tenure) {
    const { stream, name } = tenure.owner.processor;
    this.outbox = new Outbox(stream.app.name);
    this.sender = `outbox:${stream.name}:${tenure.partition}:${name}`;
  }

  /** A commit has written to the outbox, or a claim says that something waits there. */
  wrote(byThisLease = true): void {
    this.hasWritten ||= byThisLease;
    this.outbox.wrote();
    this.bell.ring();
    if (!this.running && !this.over) void this.run();
  }

  /** The claim was repeated. Throws Refused if the server has lost commits that emitted: their numbers would be used twice. */
  checkpointMoved(before: string, after: string): void {
    if (this.hasWritten && isAfter(before, after)) throw new Refused(`CONFLICT checkpoint=${after}`);
  }

  /** The lease is to be released: forward what can be forwarded soon. The next owner goes on with the rest. */
  async leave(): Promise<void> {
    for (const until = now() + PATIENCE; this.running && !this.outbox.isEmpty && !this.outbox.isStuck && now() < until; ) await sleep(5);
    this.stop();
  }

  stop(): void {
    this.over = true;
    this.bell.ring();
  }

  private get isOver(): boolean {
    return this.over || this.tenure.error !== undefined;
  }

  private async run(): Promise<void> {
    this.running = true;
    try {
      while (!this.isOver) {
        await this.trim();
        if (this.outbox.wantsRead) await this.read();
        for (const target of this.outbox.targets.values()) {
          if (target.queue.length > 0 && !target.busy) void this.append(target).catch((error: unknown) => this.failed(error));
        }
        if (this.outbox.isEmpty) break;
        if (!this.outbox.wantsRead) await this.bell.wait(PAUSE);
      }
    } catch (error) {
      this.failed(error);
    }
    this.running = false;
  }

  private failed(error: unknown): void {
    if (this.over) return;
    const { outbox } = this.tenure.keys;
    const isOurs = refusedWith(error, 'FENCED', 'CONFLICT');
    const why = `what was emitted cannot be forwarded: ${(error as Error).message}. It waits in ${outbox}: entries that are deleted there count as lost`;
    this.tenure.end(isOurs ? error : new ConfigError(why, { cause: error }));
  }

  private async read(): Promise<void> {
    const { keys, owner } = this.tenure;
    const writes = this.outbox.beginRead();
    const { after } = this.outbox;
    // The state is read behind the entries: what it says of them was true when they were read.
    const [entries, [last, done]] = (await owner.link.ask(keys.outbox, (redis) =>
      Promise.all([
        redis.callBuffer('XRANGE', keys.outbox, `(${after}`, '+', 'COUNT', String(PAGE)),
        redis.hmgetBuffer(keys.state, 'outbox_last', 'outbox_done'),
      ]),
    )) as [[Buffer, Buffer[]][], (Buffer | null)[]];
    this.outbox.takeIn(entries, asNumber(last ?? 0), asNumber(done ?? 0), writes);
  }

  private async trim(): Promise<void> {
    const { tenure } = this;
    for (let trim = this.outbox.nextTrim(); trim !== undefined; trim = this.outbox.nextTrim()) {
      const args = [tenure.epoch, tenure.nonce, trim.last, trim.done, trim.lost, trim.waitsFor, cut(trim.reason, 1000)];
      await tenure.owner.link.call('trim_outbox', [tenure.keys.state, tenure.keys.outbox], args);
      if (trim.lost > 0) tenure.log(`: ${trim.lost} emitted entries are LOST: other programs have removed them from ${tenure.keys.outbox}, or the server has lost them`);
      if (trim.waitsFor !== '') tenure.log(`: what was emitted to ${trim.waitsFor} waits for room: ${trim.reason}`);
    }
  }

  /** Append what waits for a target, in order, one append at a time. */
  private async append(target: OutboxTarget): Promise<void> {
    target.busy = true;
    try {
      while (target.queue.length > 0 && !this.isOver) await this.appendBatch(target);
    } finally {
      target.busy = false;
      this.bell.ring();
    }
  }

  private async appendBatch(target: OutboxTarget): Promise<void> {
    const { tenure, outbox } = this;
    const batch = outbox.batch(target);
    const sink = batch[0]!.sink!;
    const { log, meta, numbers } = new PartitionKeys(sink.prefix);
    const args: Arg[] = [PROTOCOL, sink.partitions, HASH, sink.size, batch[0]!.whenFull, this.sender];
    for (const { id, entry } of batch) args.push(id, entry.length, ...entry);
    try {
      const [added, , , last] = await tenure.owner.link.call('append_numbered', [log, meta, numbers], args);
      // The target knows entries of a later lease than this one: a failover has lost that lease, and the clock went back.
      const isLater = isAfter(`${asText(last).split('-')[0]}-0`, `${tenure.epoch}-0`);
      outbox.forwarded(target, batch, isLater ? batch.length - asNumber(added) : 0);
    } catch (error) {
      if (refusedWith(error, 'MISSING')) await declareSink(tenure, sink);
      else if (!refusedWith(error, 'FULL')) throw error;
      else if (!outbox.noRoom(target, batch.length, error.message)) await sleep(PAUSE);
    }
    this.bell.ring();
  }
}
