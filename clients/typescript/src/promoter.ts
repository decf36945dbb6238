// Lets events of one partition that are due enter the log, while the lease is open.
import { Bell } from './bell.js';
import { refusedWith } from './errors.js';
import { asNumber, asText } from './link.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';
import type { Tenure } from './tenure.js';

/** Milliseconds after which delayed events are looked for although none was said to be due. */
const LOOK = 60_000;
/** The same while there is no room for them, or Redis refuses the call. */
const LOOK_AGAIN = 1000;

export class Promoter {
  private readonly bell = new Bell();
  private over = false;
  private told = false;

  constructor(private readonly tenure: Tenure) {}

  /** Events may be due sooner than was known. */
  look(): void {
    this.bell.ring();
  }

  stop(): void {
    this.over = true;
    this.bell.ring();
  }

  async run(): Promise<void> {
    while (!this.over) {
      const wait = await this.promote().catch((error: unknown) => this.failed(error));
      if (wait > 0 && !this.over) await this.bell.wait(wait);
    }
  }

  /** One call. Returns the milliseconds after which the next one is due. */
  private async promote(): Promise<number> {
    const { keys, owner, partition } = this.tenure;
    const { stream } = owner.processor;
    const args = [PROTOCOL, stream.partitions, HASH, stream.size, 'refuse'];
    const [, , nextIn, lost] = await owner.link.call('promote', [keys.log, keys.meta, keys.delayed], args);
    if (asNumber(lost) > 0) owner.log(`stream ${stream.name}, partition ${partition}: ${asText(lost)} delayed events are LOST`);
    this.told = false;
    return asNumber(nextIn) >= 0 ? Math.min(LOOK, asNumber(nextIn)) : LOOK;
  }

  private failed(error: unknown): number {
    const { owner, partition } = this.tenure;
    const why = refusedWith(error, 'FULL') ? 'wait for room' : `cannot be promoted: ${(error as Error).message}`;
    if (!this.told && !this.over) owner.log(`stream ${owner.processor.stream.name}, partition ${partition}: events that are due ${why}`);
    this.told = true;
    return LOOK_AGAIN;
  }
}
