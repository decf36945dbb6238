// Makes the calls that add events to one partition, and meets what refuses them: no room, events that are due, lost keys.
import { setTimeout as sleep } from 'node:timers/promises';

import { FullError, refusedWith, type Refused } from './errors.js';
import { PartitionKeys } from './keys.js';
import { type Arg, type Link, now, type Reply } from './link.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';

/** What a producer needs of a stream. */
export interface Destination {
  readonly name: string;
  readonly partitions: number;
  readonly size: number;
  prefix(partition: number): string;
}

/** What the calls of an app have in common. */
export interface Sending {
  readonly link: Link;
  /** Milliseconds for which a call that gets no answer is repeated. */
  readonly deliveryTimeout: number;
  readonly warn: (text: string) => void;
}

/** What happens if there is no room: events that nobody has processed are dropped, or the call waits until this time. */
export interface Patience {
  readonly dropOldest: boolean;
  readonly waitUntil: number;
}

const FIRST_PAUSE = 20;
const LONGEST_PAUSE = 500;

export class Appender {
  readonly keys: PartitionKeys;

  constructor(readonly sending: Sending, readonly stream: Destination, readonly partition: number) {
    this.keys = new PartitionKeys(stream.prefix(partition));
  }

  /** The arguments with which every call that adds events begins. */
  head(patience: Patience): Arg[] {
    return [PROTOCOL, this.stream.partitions, HASH, this.stream.size, patience.dropOldest ? 'drop_oldest' : 'refuse'];
  }

  /** Make a call until it is answered. `meet` says whether it has met a refusal, so that the call is made again.
   *
   * Throws FullError, DeliveryTimeout, Refused, or an error of Redis that does not go away by itself. */
  async call(
    name: string, keys: readonly string[], args: () => Arg[], patience: Patience,
    { meet, inDoubt }: { meet?: (refusal: Refused) => Promise<boolean>; inDoubt?: () => void } = {},
  ): Promise<Reply> {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        return await this.sending.link.call(name, keys, args(), { until: this.until, ...(inDoubt ? { inDoubt } : {}) });
      } catch (error) {
        if (refusedWith(error, 'FULL')) await this.waitForRoom(error, pause, patience);
        else if (refusedWith(error, 'OVERDUE')) await this.promote(pause, patience);
        else if (refusedWith(error, 'MISSING')) await this.declareAgain();
        else if (meet === undefined || !(error instanceof Error) || !refusedWith(error, 'UNKNOWN_PRODUCER', 'OUTOFORDER') || !(await meet(error))) throw error;
      }
    }
  }

  /** Declare the stream, and this partition, because its keys were lost or deleted. */
  async declareAgain(): Promise<void> {
    await declare(this.sending, this.stream, 0);
    if (this.partition > 0) await declare(this.sending, this.stream, this.partition);
  }

  private get until(): number {
    return now() + this.sending.deliveryTimeout;
  }

  /** Events that are due enter the log before what is sent now. */
  private async promote(pause: number, patience: Patience): Promise<void> {
    const { log, meta, delayed } = this.keys;
    try {
      await this.sending.link.call('promote', [log, meta, delayed], this.head(patience), { until: this.until });
    } catch (error) {
      if (!refusedWith(error, 'FULL')) throw error;
      await this.waitForRoom(error, pause, patience);
    }
  }

  private async waitForRoom(refusal: Refused, pause: number, { waitUntil }: Patience): Promise<void> {
    const { processor, group, delayed } = refusal.details;
    const why =
      delayed !== undefined ? `${delayed} delayed events wait there`
      : processor ? `the processor ${processor} has not committed its oldest events`
      : group === 'missing' ? 'the consumer group of a processor was lost; its worker will restore it'
      : 'no processor is registered to read it';
    if (now() + pause > waitUntil) {
      throw new FullError(`stream ${this.stream.name}, partition ${this.partition} is full: ${why}; nothing was sent`, { cause: refusal });
    }
    await sleep(pause);
  }
}

/** Declare one partition of a stream, or find that it was declared otherwise. */
export function declare({ link, deliveryTimeout }: Sending, stream: Destination, partition: number): Promise<unknown> {
  const { meta } = new PartitionKeys(stream.prefix(partition));
  return link.call('declare', [meta], [PROTOCOL, stream.partitions, HASH], { until: now() + deliveryTimeout });
}
