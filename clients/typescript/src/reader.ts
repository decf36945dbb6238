// Reads the logs of all partitions that a member holds, and finds losses.
import { Bell } from './bell.js';
import type { Lease } from './lease.js';
import { Link } from './link.js';

/** Entries that one read fetches of a partition, and how many may wait for the handler. */
const COUNT = 200;
const MOST_WAITING = 400;
/** Milliseconds that a read waits for events. */
const BLOCK = 1000;

const streamOf = (redis: unknown): unknown => (redis as { stream: unknown }).stream;

type Entries = [Buffer, [Buffer, Buffer[]][]][] | null;

export class Reader {
  private readonly link: Link;
  private readonly bell = new Bell();
  /** The leases that the current read covers. */
  private covered = new Set<Lease>();
  /** The id of the connection, while a read may be blocked there. */
  private blocked: number | undefined;
  private wakes = 0;
  private connection: { of: unknown; id: number } = { of: undefined, id: 0 };
  private over = false;

  constructor(url: string, timeout: number, private readonly leases: () => Iterable<Lease>, private readonly calls: Link) {
    this.link = new Link({ url, timeout });
  }

  /** Read again, unless the current read covers this lease. */
  wake(lease?: Lease, force = false): void {
    if (lease !== undefined && !force && this.covered.has(lease)) return;
    this.wakes += 1;
    this.covered.clear();
    this.bell.ring();
    if (this.blocked !== undefined) void this.unblock(this.blocked);
  }

  stop(): void {
    this.over = true;
    this.wake();
    this.link.close();
  }

  /** End a read that is blocked. It may not have begun yet: then once more. */
  private async unblock(id: number): Promise<void> {
    while (this.blocked === id && !this.over) {
      try {
        if (Number(await this.calls.once((redis) => redis.client('UNBLOCK', id))) === 1) return;
      } catch {
        return; // It ends by itself soon.
      }
      await new Promise((done) => setTimeout(done, 2));
    }
  }

  async run(log: (text: string) => void): Promise<void> {
    let told = false;
    while (!this.over) {
      const { wakes } = this;
      const open = [...this.leases()].filter((each) => each.readable(MOST_WAITING));
      if (open.length === 0) {
        await this.bell.wait(BLOCK);
        continue;
      }
      try {
        await this.read(open, wakes);
        told = false;
      } catch (error) {
        if (this.over) return;
        if (!told) log(`cannot read: ${(error as Error).message}; trying again`);
        told = true;
        await this.bell.wait(100);
      }
    }
  }

  private async read(open: Lease[], wakes: number): Promise<void> {
    const asked = open.map((lease) => ({ lease, version: lease.version, cursor: lease.cursor }));
    const streams = ['STREAMS', ...open.map((each) => each.keys.log), ...asked.map((each) => each.cursor)];
    const replies = await this.link.once(async (redis) => {
      if (this.connection.of !== streamOf(redis)) this.connection = { of: streamOf(redis), id: Number(await redis.client('ID')) };
      this.covered = new Set(open);
      this.blocked = this.connection.id;
      const block = this.wakes === wakes ? BLOCK : 1; // Another lease may have got room meanwhile.
      // The look goes behind the read: what it finds was there when the read ran.
      const sent = [redis.callBuffer('XREAD', 'COUNT', String(COUNT), 'BLOCK', String(block), ...streams)];
      for (const { lease, cursor } of asked) sent.push(redis.callBuffer('XRANGE', lease.keys.log, cursor, cursor, 'COUNT', '1'));
      try {
        return await Promise.all(sent);
      } finally {
        this.blocked = undefined;
        this.covered.clear();
      }
    }, BLOCK);
    const found = new Map(((replies[0] as Entries) ?? []).map(([log, entries]) => [log.toString(), entries]));
    asked.forEach(({ lease, version, cursor }, i) => {
      if (lease.version !== version || lease.cursor !== cursor) return;
      const entries = found.get(lease.keys.log) ?? [];
      const first = entries[0]?.[0].toString();
      const cursorIsThere = (replies[i + 1] as unknown[]).length > 0;
      const nothingLost = lease.checkpointExists ? cursorIsThere : first === undefined || first === lease.nextId;
      if (!nothingLost) lease.suspect = true;
      else if (entries.length > 0) {
        for (const [id, fields] of entries) lease.queue.push({ id: id.toString(), fields });
        lease.cursor = entries.at(-1)![0].toString();
        lease.checkpointExists = true;
      } else return;
      lease.bell.ring();
    });
  }
}
