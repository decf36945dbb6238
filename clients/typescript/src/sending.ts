// The options of a send, and what they mean for the producer.
import { setTimeout as sleep } from 'node:timers/promises';

import type { Headers } from './codec.js';
import { ConfigError } from './errors.js';
import { PartitionKeys } from './keys.js';
import { asNumber, asText, type Link, now } from './link.js';
import type { Due, Receipt, Way } from './producer.js';
import { type Key, keyBytes } from './routing.js';

/** `refuse`: throw FullError at once. `wait`: until there is room. `drop_oldest`: remove events that nobody has processed;
 * each processor's loss is counted. */
export type WhenFull = 'refuse' | 'wait' | 'drop_oldest';

export interface SendOptions {
  readonly headers?: Headers;
  /** If there is no room, wait: so many milliseconds, or without limit. */
  readonly wait?: boolean | number;
  /** If there is no room, remove events that nobody has processed. */
  readonly dropOldest?: boolean;
}

export interface SendOneOptions extends SendOptions {
  /** A natural key of the record, such as the number of an order: what was sent under it is not sent again. */
  readonly dedupe?: Key;
}

/** The event enters its partition when it is due: at a time, or after so many milliseconds. */
export type WhenDue = { readonly at: Date; readonly delay?: undefined } | { readonly delay: number; readonly at?: undefined };

/** The receipt for an event that waits. `id` is not the id that the event gets in the log. */
export interface Delayed {
  readonly partition: number;
  readonly id: string;
  readonly due: Date;
}

/** What the app says about sending. */
export interface Defaults {
  readonly whenFull: WhenFull;
  readonly deliveryTimeout: number;
  readonly dedupeWindow: number;
}

const MOST_DELAY = 366 * 86_400_000;
const MOST_KEY = 500;

/** The way in which a send is carried out. Throws ConfigError. */
export function wayOf(options: SendOneOptions & Partial<WhenDue>, defaults: Defaults): Way {
  const { wait, dropOldest, dedupe } = options;
  if (wait !== undefined && typeof wait !== 'boolean' && !(typeof wait === 'number' && wait >= 0)) throw new ConfigError(`send takes wait: true, or 0 or more milliseconds, not ${String(wait)}`);
  const waits = wait === undefined ? defaults.whenFull === 'wait' && !dropOldest : wait !== false;
  const due = dueOf(options);
  if (due !== undefined && dropOldest) throw new ConfigError('send: dropOldest does not go with at or delay: when the event is due, it waits for room');
  return {
    dropOldest: dropOldest ?? (wait === undefined && defaults.whenFull === 'drop_oldest'),
    wait: waits ? (typeof wait === 'number' ? wait : Infinity) : 0,
    ...(due === undefined ? {} : { due }),
    ...(dedupe === undefined ? {} : { once: { key: dedupeKey(dedupe), window: Math.max(1000, defaults.dedupeWindow, 2 * defaults.deliveryTimeout) } }),
  };
}

function dedupeKey(key: Key): string {
  const bytes = Buffer.from(keyBytes(key));
  const text = bytes.toString();
  if (bytes.length < 1 || bytes.length > MOST_KEY || !Buffer.from(text).equals(bytes)) {
    throw new ConfigError(`send: dedupe takes text of 1 to ${MOST_KEY} bytes, or an integer, not ${JSON.stringify(text.slice(0, 80))}`);
  }
  return text;
}

function dueOf({ at, delay }: Partial<WhenDue>): Due | undefined {
  if (at === undefined && delay === undefined) return undefined;
  if (at !== undefined && delay !== undefined) throw new ConfigError('send takes at or delay, not both');
  if (at !== undefined) {
    const ms = at instanceof Date ? at.getTime() : NaN;
    if (!(ms <= Date.now() + MOST_DELAY)) throw new ConfigError(`send: at takes a Date within the next 366 days, not ${String(at)}`);
    return { kind: 'at', ms: Math.max(0, Math.floor(ms)) };
  }
  if (typeof delay !== 'number' || !(delay >= 0 && delay <= MOST_DELAY)) throw new ConfigError(`send: delay takes milliseconds from 0 to 366 days, not ${String(delay)}`);
  return { kind: 'delay', ms: Math.round(delay) };
}

/** The receipt of a delayed event, for the caller. */
export function delayedOf(partition: number, receipt: Receipt): Delayed {
  if (typeof receipt === 'string') throw new TypeError('no receipt of a delayed event');
  return { partition, id: `${receipt.due}-${receipt.order}`, due: new Date(receipt.due) };
}

/** Remove a delayed event of a partition. Returns whether it waited until now.
 *
 * Throws DeliveryTimeout, also if a reply was lost and nobody knows whether this call has removed it. */
export async function cancel(link: Link, prefix: string, delayed: Delayed, deliveryTimeout: number): Promise<boolean> {
  const [due, order] = /^(\d+)-(\d+)$/.exec(delayed.id)?.slice(1) ?? [];
  if (due === undefined || order === undefined) throw new ConfigError(`cancel takes what send with at or delay returned, not ${JSON.stringify(delayed)}`);
  const { meta, delayed: set } = new PartitionKeys(prefix);
  const until = now() + deliveryTimeout;
  for (let lost: unknown; ; await sleep(200)) {
    try {
      const [removed] = await link.call('cancel', [meta, set], [due, order], { until, onlyIfNotRun: true });
      if (lost !== undefined && asNumber(removed) === 0) throw lost;
      return asText(removed) === '1';
    } catch (error) {
      if (error === lost || !(error instanceof Error) || error.name !== 'DeliveryTimeout' || now() > until) throw error;
      lost = error;
    }
  }
}
