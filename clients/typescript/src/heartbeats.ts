// Heartbeats of a worker whose handlers keep the event loop: a thread sends them then, on a connection of its own.
import { Worker as Thread } from 'node:worker_threads';

import type { Arg } from './link.js';
import type { Numbers } from './membership.js';

/** Milliseconds of the clock that all threads of a process share. */
export const sharedNow = (): number => Number(process.hrtime.bigint()) / 1e6;
/** What that clock says when `performance.now()`, which each thread has for itself, is 0. */
const OFFSET = sharedNow() - performance.now();

/** What a member and the thread share: the number of the last `sync`, the end of the session, the length of a session. */
export const NUMBER = 0;
export const ENDS = 1;
export const SESSION = 2;

/** Raise a shared number to at least this. */
export function raise(shared: BigInt64Array, at: number, to: number): void {
  const value = BigInt(Math.floor(to));
  for (let old = Atomics.load(shared, at); old < value; old = Atomics.load(shared, at)) {
    if (Atomics.compareExchange(shared, at, old, value) === old) return;
  }
}

export type ToThread =
  | { readonly kind: 'member'; readonly id: number; readonly keys: readonly string[]; readonly shared: BigInt64Array }
  | { readonly kind: 'report'; readonly id: number; readonly args: Arg[] }
  | { readonly kind: 'end'; readonly id: number };

/** `ready`: the thread runs. `ended`: no call of it for this member is under way, and none will be. `beat`: it has sent one. */
export interface FromThread {
  readonly kind: 'ready' | 'ended' | 'beat';
  readonly id: number;
}

export interface ThreadData {
  readonly url: string;
  readonly timeout: number;
  readonly maxBlock: number;
  readonly check: number;
  readonly alive: BigInt64Array;
}

export interface HeartbeatOptions {
  readonly url: string;
  readonly timeout: number;
  /** Milliseconds of a session. */
  readonly session: number;
  /** After so many milliseconds without a turn of the event loop, the thread sends no more. 0: there is no thread. */
  readonly maxBlock: number;
  readonly log: (text: string) => void;
}

/** Milliseconds that the thread may take to start. */
const START = 5000;

/** The thread of a worker, and its members. */
export class Heartbeats {
  private thread: Thread | undefined;
  private readonly members: Beats[] = [];
  private readonly alive = new BigInt64Array(new SharedArrayBuffer(8));
  private timer: NodeJS.Timeout | undefined;
  private gone = false;
  /** The thread runs, or there is none. */
  readonly ready: Promise<void>;
  private isReady: () => void = () => undefined;

  constructor(private readonly options: HeartbeatOptions) {
    this.ready = new Promise((done) => (this.isReady = done));
    if (options.maxBlock > 0) this.start();
    else this.isReady();
  }

  /** What a member needs: the keys are those of `sync`. */
  member(keys: readonly string[], beat: () => void): Beats {
    const made = new Beats(this.members.length, keys, beat, (message) => this.post(message));
    this.members.push(made);
    if (this.thread === undefined) made.heard('ended');
    this.post({ kind: 'member', id: made.id, keys, shared: made.shared });
    return made;
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.gone = true;
    await this.thread?.terminate();
  }

  private post(message: ToThread): void {
    if (!this.gone) this.thread?.postMessage(message);
  }

  private start(): void {
    const { url, timeout, session, maxBlock, log } = this.options;
    const check = Math.max(10, session / 12);
    let last = sharedNow();
    const tick = (): void => {
      const time = sharedNow();
      Atomics.store(this.alive, 0, BigInt(Math.floor(time)));
      if (time - last > session / 2) log(`a handler has kept the event loop for ${Math.round(time - last)} ms: nothing else of this worker ran meanwhile`);
      last = time;
    };
    tick();
    this.timer = setInterval(tick, check).unref();
    const data: ThreadData = { url, timeout, maxBlock, check, alive: this.alive };
    this.thread = new Thread(new URL('./heartbeat-thread.js', import.meta.url), { workerData: data });
    this.thread.unref();
    this.thread.on('message', ({ kind, id }: FromThread) => (kind === 'ready' ? this.isReady() : this.members[id]?.heard(kind)));
    setTimeout(() => this.isReady(), START).unref();
    this.thread.on('error', (error) => log(`the thread for heartbeats has ended: ${error.message}; handlers must not block the event loop now`));
    this.thread.once('exit', () => {
      this.gone = true;
      this.isReady();
      for (const each of this.members) each.heard('ended');
    });
  }
}

/** One member: numbers its calls of `sync`, whichever thread sends them. */
export class Beats implements Numbers {
  readonly shared = new BigInt64Array(new SharedArrayBuffer(24));
  private isReported = false;
  private over: (() => void) | undefined;
  private isOver = false;

  constructor(readonly id: number, readonly keys: readonly string[], private readonly beat: () => void, private readonly post: (message: ToThread) => void) {}

  get last(): number {
    return Number(Atomics.load(this.shared, NUMBER));
  }
  next(): number {
    return Number(Atomics.add(this.shared, NUMBER, 1n)) + 1;
  }
  raise(to: number): void {
    raise(this.shared, NUMBER, to);
  }

  /** The session has surely not ended before this time, of `performance.now()`. */
  get deadline(): number {
    return Number(Atomics.load(this.shared, ENDS)) - OFFSET;
  }

  /** A `sync` was answered. */
  answered(deadline: number, session: number): void {
    Atomics.store(this.shared, SESSION, BigInt(session));
    raise(this.shared, ENDS, deadline + OFFSET);
  }

  /** What the next `sync` would say. */
  report(args: Arg[]): void {
    this.isReported = true;
    this.post({ kind: 'report', id: this.id, args });
  }

  /** Wait until no call of the thread can arrive any more: one behind that with `leave` would join again. */
  async end(most: number): Promise<void> {
    if (!this.isReported || this.isOver) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((done) => {
      this.over = done;
      timer = setTimeout(done, most);
      this.post({ kind: 'end', id: this.id });
    });
    clearTimeout(timer);
  }

  heard(kind: FromThread['kind']): void {
    if (kind === 'beat') this.beat();
    else {
      this.isOver = true;
      this.over?.();
    }
  }
}
