// What the parts of a lease need of the member that holds it.
import type { Link } from './link.js';
import type { Processor } from './processor.js';
import type { Intake } from './intake.js';
import type { Trouble } from './trouble.js';

export interface Owner {
  readonly link: Link;
  readonly processor: Processor;
  readonly member: string;
  /** What is told of leases that end again and again. */
  readonly leaseTrouble: Trouble;
  /** One suspected event of this worker at a time. */
  readonly startLock: { run<T>(work: () => Promise<T>): Promise<T> };
  /** The session has surely not ended before this time. */
  deadline(): number;
  /** The claim succeeded. False if the grant is not the current one any more. */
  claimed(partition: number, grant: number): boolean;
  heartbeat(): void;
  /** There is room for events. With `force`, a read that covers it already is of no use. */
  wakeReader(intake: Intake, force?: boolean): void;
  fail(error: unknown): void;
  log(text: string): void;
}
