// The readers of one member: one for all its partitions; in a cluster one for each, with a connection of its own.
import type { Intake } from './intake.js';
import type { Link } from './link.js';
import { Poller, Reader } from './reader.js';

/** Partitions of a cluster that a member reads over a connection each, where events arrive at once. It polls the others. */
const OWN_CONNECTIONS = 64;

export class Readers {
  private readonly own = new Map<Intake, Reader>();
  private readonly polled = new Set<Intake>();
  private readonly all = new Set<Intake>();
  private readonly poller: Poller;
  private readonly shared: Reader;
  private readonly running = new Set<Promise<void>>();

  constructor(private readonly link: Link, private readonly log: (text: string) => void) {
    this.poller = new Poller(link, () => this.polled, log);
    this.shared = new Reader(link, () => this.all, log);
    this.start(link.servers.oneSlot ? this.poller : this.shared);
  }

  add(intake: Intake): void {
    if (!this.link.servers.oneSlot) this.all.add(intake);
    else if (this.own.size >= OWN_CONNECTIONS) this.polled.add(intake);
    else {
      const reader = new Reader(this.link, () => [intake], this.log);
      this.own.set(intake, reader);
      this.start(reader);
    }
  }

  remove(intake: Intake): void {
    this.all.delete(intake);
    this.polled.delete(intake);
    this.own.get(intake)?.stop();
    this.own.delete(intake);
  }

  /** There is room for events of this partition. With `force`, a read that covers it already is of no use. */
  wake(intake: Intake, force: boolean): void {
    if (this.polled.has(intake)) this.poller.wake();
    else (this.own.get(intake) ?? this.shared).wake(intake, force);
  }

  async stop(): Promise<void> {
    for (const each of [...this.own.values(), this.poller, this.shared]) each.stop();
    await Promise.all(this.running);
  }

  private start(reader: { run(): Promise<void> }): void {
    const running = reader.run().finally(() => this.running.delete(running));
    this.running.add(running);
  }
}
