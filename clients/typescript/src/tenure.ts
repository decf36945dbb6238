// What the parts of one lease share: its token and its checkpoint, what was read, and whether it is about to end.
import { randomBytes } from 'node:crypto';

import { Bell } from './bell.js';
import { Intake } from './intake.js';
import { PartitionKeys } from './keys.js';
import { asNumber } from './link.js';
import type { Owner } from './owner.js';
import { Suspicion } from './suspicion.js';

export class Tenure {
  readonly keys: PartitionKeys;
  /** Rings when something has changed that the work may wait for. */
  readonly bell = new Bell();
  readonly intake: Intake;
  readonly nonce = randomBytes(16).toString('hex');
  epoch = '';
  checkpoint = '';
  suspicion = new Suspicion('', 0, 0, 0);
  /** Why the lease has ended, if a call for it was refused. */
  error: unknown;
  /** Nothing more is handed out. */
  draining = false;
  /** Paused or quarantined: held, and not processed. */
  stopped = false;

  constructor(readonly owner: Owner, readonly partition: number, readonly grant: number) {
    this.keys = new PartitionKeys(owner.processor.stream.prefix(partition), owner.processor.name);
    this.intake = new Intake(this.keys.log, this.bell);
  }

  get isEnding(): boolean {
    return this.draining || this.error !== undefined;
  }

  log(text: string): void {
    this.owner.log(`processor ${this.owner.processor.name}, partition ${this.partition}${text}`);
  }

  drain(): void {
    this.draining = true;
    this.intake.closed = true;
    this.bell.ring();
  }

  stop(): void {
    this.stopped = true;
    this.intake.closed = true;
  }

  end(error: unknown): void {
    this.error ??= error;
    this.intake.closed = true;
    this.bell.ring();
  }

  /** Report a start, a failure or a quarantine of an event. Returns true if the partition is stopped. */
  async attempt(kind: 'start' | 'failure' | 'quarantine', event: string, attempts: number, type = '', message = ''): Promise<boolean> {
    const args = [this.epoch, this.nonce, kind, event, attempts, cut(type, 1000), cut(message, 4000)];
    const [paused] = await this.owner.link.call('attempt', [this.keys.state], args);
    if (asNumber(paused) === 1) this.stop();
    return this.stopped;
  }
}

/** The first bytes of a text: a script refuses a longer one. */
export const cut = (text: string, most: number): Buffer => Buffer.from(text).subarray(0, most);
