// Reads the logs of the partitions that a member holds, and finds losses.
import type { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';

import { Bell } from './bell.js';
import type { Connection } from './connection.js';
import type { Intake, LogEntry } from './intake.js';
import type { Link } from './link.js';

/** Entries that one read fetches of a partition: as many as it may, and before their size is known. */
const COUNT = 200;
const FIRST_COUNT = 20;
/** Bytes that one read should bring at most, and that may wait for the handlers, over all partitions. */
const READ_BYTES = 8_000_000;
const WAITING_BYTES = 32_000_000;
/** Milliseconds that a read waits for events. */
const BLOCK = 1000;
/** The same for one that cannot be ended before. */
const SHORT = 100;

type Entries = [Buffer, LogEntry[]][] | null;

/** Reads logs that one command can read: all of one server, or a single one of a cluster. */
export class Reader {
  private readonly bell = new Bell();
  private connection: Connection | undefined;
  private clientId = 0;
  /** The partitions that the current read covers. */
  private covered = new Set<Intake>();
  private isBlocked = false;
  private isUnblocking = false;
  private wakes = 0;
  private over = false;

  constructor(private readonly link: Link, private readonly intakes: () => Iterable<Intake>, private readonly log: (text: string) => void) {}

  /** Read again, unless the current read covers this partition. */
  wake(intake: Intake | undefined, force: boolean): void {
    if (intake !== undefined && !force && this.covered.has(intake)) return;
    this.wakes += 1;
    this.covered.clear();
    this.bell.ring();
    if (this.isBlocked && !this.isUnblocking) void this.unblock(this.clientId);
  }

  stop(): void {
    this.over = true;
    this.wake(undefined, true);
    this.connection?.close();
  }

  async run(): Promise<void> {
    let told = false;
    while (!this.over) {
      const { wakes } = this;
      const all = [...this.intakes()];
      const open = all.filter((each) => each.readable(WAITING_BYTES / all.length));
      if (open.length === 0) {
        await this.bell.wait(BLOCK);
        continue;
      }
      try {
        await this.read(open, wakes);
        told = false;
      } catch (error) {
        if (this.over) return;
        this.link.servers.learn(this.connection, (error as Error).message);
        this.connection?.close(); // The key may be on another server now.
        if (!told) this.log(`cannot read: ${(error as Error).message}; trying again`);
        told = true;
        await this.bell.wait(100);
      }
    }
  }

  /** End a read that is blocked. It may not have begun yet: then once more. */
  private async unblock(id: number): Promise<void> {
    const [first] = this.intakes();
    this.isUnblocking = true;
    for (let pause = 2; first !== undefined && this.isBlocked && this.clientId === id && !this.over; pause *= 2) {
      try {
        if (Number(await this.link.once(first.log, (redis) => redis.client('UNBLOCK', id))) === 1) break;
      } catch {
        break; // It ends by itself soon.
      }
      await sleep(pause);
    }
    this.isUnblocking = false;
  }

  private async connect(log: string): Promise<Connection> {
    if (this.connection === undefined || this.connection.isOver) {
      const made = (this.connection = await this.link.servers.ownConnectionFor(log));
      if (this.over) made.close();
      // A user that may not ask for it cannot end a read, either: then reads are short.
      this.clientId = Number(await made.once((redis) => redis.client('ID').catch(() => 0)));
    }
    return this.connection;
  }

  private async read(open: Intake[], wakes: number): Promise<void> {
    const connection = await this.connect(open[0]!.log);
    const asked = open.map((intake) => ({ intake, version: intake.version, cursor: intake.cursor }));
    const replies = await connection.once(async (redis) => {
      this.covered = new Set(open);
      this.isBlocked = true;
      try {
        const block = this.wakes === wakes ? (this.clientId > 0 ? BLOCK : SHORT) : 1; // Another partition may have got room meanwhile.
        return await Promise.all(commands(redis, asked, block));
      } finally {
        this.isBlocked = false;
        this.covered.clear();
      }
    }, BLOCK);
    takeIn(asked, [replies[0] as Entries], replies.slice(1), connection.runId);
  }
}

interface Asked {
  readonly intake: Intake;
  readonly version: number;
  readonly cursor: string;
}

/** XREAD of all, then a look at each cursor. The look goes behind the read: what it finds was there when the read ran. */
function commands(redis: Redis, asked: readonly Asked[], block: number): Promise<unknown>[] {
  const logs = asked.map(({ intake }) => intake.log);
  const cursors = asked.map(({ cursor }) => cursor);
  const sent = [redis.callBuffer('XREAD', 'COUNT', String(countFor(asked)), ...(block > 0 ? ['BLOCK', String(block)] : []), 'STREAMS', ...logs, ...cursors)];
  for (const { intake, cursor } of asked) sent.push(redis.callBuffer('XRANGE', intake.log, cursor, cursor, 'COUNT', '1'));
  return sent;
}

/** How many entries of each partition one read may bring. */
function countFor(asked: readonly Asked[]): number {
  const largest = Math.max(...asked.map(({ intake }) => intake.average));
  if (largest === 0) return FIRST_COUNT;
  return Math.max(1, Math.min(COUNT, Math.floor(READ_BYTES / asked.length / largest)));
}

function takeIn(asked: readonly Asked[], read: readonly Entries[], looks: readonly unknown[], runId: string): void {
  const found = new Map<string, LogEntry[]>();
  for (const entries of read) for (const [log, each] of entries ?? []) found.set(log.toString(), each);
  asked.forEach(({ intake, version, cursor }, i) => {
    intake.takeIn(version, cursor, found.get(intake.log) ?? [], (looks[i] as unknown[]).length > 0, runId);
  });
}

/** Milliseconds between two polls, at first and at most. */
const SOON = 5;
const LATER = 250;

/** Reads many logs of a cluster, where no command can wait for more than one of them: less often, the longer none has events. */
export class Poller {
  private readonly bell = new Bell();
  private over = false;

  constructor(private readonly link: Link, private readonly intakes: () => Iterable<Intake>, private readonly log: (text: string) => void) {}

  wake(): void {
    this.bell.ring();
  }

  stop(): void {
    this.over = true;
    this.bell.ring();
  }

  async run(): Promise<void> {
    for (let pause = SOON; !this.over; ) {
      const all = [...this.intakes()];
      const open = all.filter((each) => each.readable(WAITING_BYTES / all.length));
      const found = await Promise.all(open.map((each) => this.poll(each)));
      pause = found.some((each) => each) ? SOON : Math.min(2 * pause, LATER);
      await this.bell.wait(open.length === 0 ? LATER : pause);
    }
  }

  /** Returns whether there were events. */
  private async poll(intake: Intake): Promise<boolean> {
    const asked = [{ intake, version: intake.version, cursor: intake.cursor }];
    try {
      const [read, look] = await this.link.once(intake.log, (redis) => Promise.all(commands(redis, asked, 0)));
      takeIn(asked, [read as Entries], [look], await this.link.runId(intake.log));
      return read !== null;
    } catch (error) {
      if (!this.over) this.log(`cannot read: ${(error as Error).message}; trying again`);
      return false;
    }
  }
}
