// What was read of one partition and is not finished, and where to read on.
import type { Bell } from './bell.js';
import type { Raw } from './processor.js';

/** An entry as XREAD has it. */
export type LogEntry = [id: Buffer, fields: Buffer[]];

/** Entries that may wait for the handler. */
const MOST_WAITING = 400;

export class Intake {
  /** What was read, and how many of these are finished already. */
  private readonly queue: Raw[] = [];
  private head = 0;
  /** The id after which to read, and a number that changes when what is read meanwhile is of no use. */
  cursor = '';
  version = 0;
  checkpointExists = false;
  nextId = '';
  /** Events behind the cursor may have been lost: nothing is read until the claim was repeated. */
  suspect = false;
  /** Not claimed yet, released, or stopped. */
  closed = true;
  /** The id of the server process from which the last read came. */
  runId = '';
  /** Bytes that wait, and bytes of an entry, roughly; 0 if that is not known. */
  waiting = 0;
  average = 0;

  constructor(readonly log: string, private readonly bell: Bell) {}

  /** How many events wait, the one that the handler has included. */
  get length(): number {
    return this.queue.length - this.head;
  }

  /** The next event, or one of those behind it. */
  at(place: number): Raw | undefined {
    return this.queue[this.head + place];
  }

  /** May more be read, if at most so many bytes may wait? */
  readable(mostBytes: number): boolean {
    return !this.closed && !this.suspect && this.length < MOST_WAITING && this.waiting < mostBytes;
  }

  /** Continue behind this checkpoint. */
  restart(checkpoint: string, checkpointExists: boolean, nextId: string): void {
    this.cursor = checkpoint;
    this.checkpointExists = checkpointExists;
    this.nextId = nextId;
    this.suspect = false;
    this.clear();
  }

  /** Throw away what was not handed out. */
  clear(): void {
    this.queue.length = this.head = this.waiting = 0;
    this.version += 1;
  }

  /** The first `count` events are finished. */
  finished(count: number): void {
    for (let i = 0; i < count; i++) this.waiting -= this.queue[this.head++]!.size;
    if (this.head === this.queue.length) this.queue.length = this.head = 0;
    else if (this.head >= MOST_WAITING) {
      this.queue.splice(0, this.head);
      this.head = 0;
    }
  }

  /** Take in what was read after `cursor`, and whether the entry there existed then. */
  takeIn(version: number, cursor: string, entries: readonly LogEntry[], cursorIsThere: boolean, runId: string): void {
    if (this.version !== version || this.cursor !== cursor) return;
    const first = entries[0]?.[0].toString();
    const nothingLost = this.checkpointExists ? cursorIsThere : first === undefined || first === this.nextId;
    if (!nothingLost) this.suspect = true;
    else {
      this.runId = runId;
      if (entries.length === 0) return;
      this.add(entries);
      this.cursor = entries.at(-1)![0].toString();
      this.checkpointExists = true;
    }
    this.bell.ring();
  }

  private add(entries: readonly LogEntry[]): void {
    let bytes = 0;
    for (const [id, fields] of entries) {
      const size = sizeOf(fields);
      this.queue.push({ id: id.toString(), fields, size });
      bytes += size;
    }
    this.waiting += bytes;
    this.average = Math.max(bytes / entries.length, this.average * 0.7);
  }
}

function sizeOf(fields: readonly Uint8Array[]): number {
  let sum = 100;
  for (const each of fields) sum += each.length;
  return sum;
}
