// Sends records that have numbers, each at most once, over restarts as well.
import { Appender } from './appender.js';
import type { App } from './app.js';
import type { Entry } from './codec.js';
import { ConfigError, EarlierNotSent, ProducerInUse, withSent } from './errors.js';
import { idsFrom, isAfter } from './ids.js';
import { checkName, PartitionKeys } from './keys.js';
import { type Arg, asNumber, asText, now } from './link.js';
import { BATCH, sizeOf } from './producer.js';
import { type SendOptions, wayOf } from './sending.js';
import type { Stream } from './stream.js';

/** The number of a record: a whole number, as a bigint beyond 2^53. */
export type RecordNumber = number | bigint;

export interface NumberedOptions extends SendOptions {
  /** The number of all records; or a list with the number of each, which rise. */
  readonly number: RecordNumber | readonly RecordNumber[];
}

const MOST_NUMBER = 2n ** 64n - 1n;

/** A producer with an id that its user chose. Made by `app.producer({ id })`.
 *
 * Each partition remembers the last number that this producer sent to it, also after the process has ended. Records with a
 * number that is not larger are there, and are not sent again. So a program that reads a file, or the log of another database,
 * may begin again anywhere before the place where it ended. */
export class NumberedProducer {
  private readonly sender: string;
  private readonly progress = new Map<string, Progress>();
  private readonly lanes = new Map<string, NumberedLane>();

  constructor(private readonly app: App, readonly id: string) {
    checkName('producer', id);
    this.sender = `producer:${id}`;
  }

  /** Send records under a number. Returns the id of each, or null for one that was there before.
   *
   * A number stands for the same records whenever it is sent. Numbers rise from send to send, and need not be consecutive. If a
   * send fails, it must be repeated before those with larger numbers. Throws what `Stream.send` throws; ConfigError for a number
   * that is none or too small; ProducerInUse if another process sends under the same id; EarlierNotSent if a send before this
   * one has failed. */
  async send<R>(stream: Stream<R>, records: R | readonly R[], options: NumberedOptions): Promise<(string | null)[]> {
    const list = (Array.isArray(records) ? records : [records]) as readonly R[];
    const numbers = numbersOf(options.number, list.length);
    const { wait, dropOldest } = wayOf(options, this.app.defaults);
    const encoded = list.map((each) => stream.encode(each, options.headers));
    if (encoded.length === 0) return [];
    const [first, last] = [numbers[0]!.number, numbers.at(-1)!.number];
    const progress = this.progressOf(stream.name);
    progress.begin(first, last);
    const sent: (string | null | undefined)[] = list.map(() => undefined);
    // Each partition gets its place before anything is awaited, so that all sends have their order.
    const partitions = new Set(encoded.map((each) => each.partition));
    const calls = [...partitions].map((partition) => {
      const places = list.map((_, i) => i).filter((i) => encoded[i]!.partition === partition);
      const entries = places.map((i) => ({ number: textOf(numbers[i]!), entry: encoded[i]!.entry, done: (id: string | null) => void (sent[i] = id) }));
      return this.lane(stream, partition).send(entries, { dropOldest, waitUntil: now() + wait });
    });
    const failed = (await Promise.allSettled(calls)).find((each) => each.status === 'rejected');
    if (failed !== undefined) {
      progress.fail(first);
      throw withSent((failed as PromiseRejectedResult).reason, sent.map((each) => each ?? undefined));
    }
    progress.succeed(first, last);
    return sent as (string | null)[];
  }

  /** The largest number that a partition of the stream remembers of this producer; undefined if none remembers any.
   *
   * If each send waited for the one before it, all records with smaller numbers are there, and of this number at least one. So
   * go on with this number, not with the next one. */
  async last(stream: Stream<any>): Promise<bigint | undefined> {
    const { link } = this.app.sending;
    const found = await Promise.all(
      Array.from({ length: stream.partitions }, async (_, partition) => {
        const { numbers } = new PartitionKeys(stream.prefix(partition));
        const stored = await link.ask(numbers, (redis) => redis.hget(numbers, this.sender));
        return stored === null ? -1n : BigInt(stored.split('-')[0]!);
      }),
    );
    const largest = found.reduce((a, b) => (a > b ? a : b), -1n);
    return largest < 0n ? undefined : largest;
  }

  private progressOf(stream: string): Progress {
    const found = this.progress.get(stream) ?? new Progress(`producer ${this.id}, stream ${stream}`);
    this.progress.set(stream, found);
    return found;
  }

  private lane(stream: Stream<any>, partition: number): NumberedLane {
    const name = `${stream.name} ${partition}`;
    let found = this.lanes.get(name);
    if (found === undefined) {
      const producer = this.app.producerOf(stream);
      found = new NumberedLane(new Appender(this.app.sending, stream, partition), this.sender, () => producer.declare());
      this.lanes.set(name, found);
    }
    return found;
  }
}

/** Which numbers of a stream may be sent next. */
class Progress {
  private next = 0n;
  /** The first numbers of the sends that failed and were not repeated. */
  private failed: bigint[] = [];

  constructor(private readonly where: string) {}

  begin(first: bigint, last: bigint): void {
    if (first < this.next) {
      throw new ConfigError(
        `${this.where}: number ${first} comes after ${this.next - 1n}. Numbers must rise, because a smaller one counts as sent. ` +
          'Send all records of a number in one call. To begin again earlier, make another producer under the same id',
      );
    }
    const earliest = this.failed.reduce<bigint | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined);
    if (earliest !== undefined && earliest < first) {
      throw new EarlierNotSent(
        `${this.where}: number ${first} was not sent, because number ${earliest} is not there yet, and would count as there after it. ` +
          'Send that one again first; or, to leave it out for good, make another producer under the same id',
      );
    }
    this.next = last + 1n;
  }

  fail(first: bigint): void {
    if (first < this.next) this.next = first;
    this.failed.push(first);
  }

  succeed(first: bigint, last: bigint): void {
    this.failed = this.failed.filter((each) => each < first || each > last);
  }
}

interface Numbered {
  readonly number: string;
  readonly entry: Entry;
  readonly done: (id: string | null) => void;
}

/** Appends to one partition for one numbered producer, one call in flight. What arrives after a larger number counts as there:
 * so a send never passes an earlier one, and if one fails, those behind it fail. */
class NumberedLane {
  private tail: Promise<unknown> = Promise.resolve();
  /** How many sends have failed: what has entered before the last of them is not sent. */
  private failures = 0;
  /** The largest number that is known to be in the partition, and of an append that failed: it may have arrived. */
  private last: string | undefined;
  private inDoubt = '0-0';

  constructor(private readonly appender: Appender, private readonly sender: string, private readonly declare: () => Promise<unknown>) {}

  send(entries: readonly Numbered[], patience: { dropOldest: boolean; waitUntil: number }): Promise<void> {
    const { failures } = this;
    const turn = this.tail.then(async () => {
      const { stream, partition } = this.appender;
      if (this.failures !== failures) {
        throw new EarlierNotSent(`stream ${stream.name}, partition ${partition}: a send of ${this.sender} before this one failed, so this one was not sent either; send both again, the earlier one first`);
      }
      try {
        await this.declare();
        for (const batch of batchesOf(entries, stream.size - 1)) await this.append(batch, patience);
      } catch (error) {
        this.failures += 1;
        throw error;
      }
    });
    this.tail = turn.catch(() => undefined);
    return turn;
  }

  private async append(batch: readonly Numbered[], patience: { dropOldest: boolean; waitUntil: number }): Promise<void> {
    const { appender } = this;
    const { log, meta, numbers } = appender.keys;
    const args: Arg[] = [...appender.head(patience), this.sender];
    for (const { number, entry } of batch) args.push(number, entry.length, ...entry);
    const largest = batch.at(-1)!.number;
    let unanswered = false;
    try {
      const [added, first, count, last] = await appender.call('append_numbered', [log, meta, numbers], () => args, patience, { inDoubt: () => void (unanswered = true) });
      this.checkAlone(batch, asNumber(added), asText(last), unanswered);
      // Without a lost reply, events that this call has not added were there before it.
      const ids = asNumber(added) > 0 || unanswered ? idsFrom(asText(first), asNumber(count)) : [];
      batch.forEach(({ done }, i) => done(ids[i - (batch.length - ids.length)] ?? null));
    } catch (error) {
      if (isAfter(largest, this.inDoubt)) this.inDoubt = largest;
      throw error;
    }
  }

  /** Throws ProducerInUse if events were there that this process can only send now. */
  private checkAlone(batch: readonly Numbered[], added: number, last: string, unanswered: boolean): void {
    const there = batch.length - added;
    const known = this.last ?? last;
    this.last = isAfter(batch.at(-1)!.number, known) ? batch.at(-1)!.number : known;
    if (there === 0 || unanswered) return;
    const { number } = batch[there - 1]!;
    if (!isAfter(number, known) || !isAfter(number, this.inDoubt)) return;
    this.last = undefined;
    const { stream, partition } = this.appender;
    throw new ProducerInUse(
      `stream ${stream.name}, partition ${partition}: there is an event number ${number.split('-')[0]} of ${this.sender} that this process has not sent. ` +
        'Another process sends under the same id: give each process an id of its own, or stop the other one',
    );
  }
}

function batchesOf(entries: readonly Numbered[], room: number): Numbered[][] {
  const batches: Numbered[][] = [];
  let bytes = 0;
  for (const each of entries) {
    const size = sizeOf([each.entry]);
    const last = batches.at(-1);
    if (last === undefined || last.length >= Math.min(BATCH.entries, room) || bytes + size > BATCH.bytes) {
      batches.push([each]);
      bytes = size;
    } else {
      last.push(each);
      bytes += size;
    }
  }
  return batches;
}

interface Place {
  readonly number: bigint;
  readonly place: number;
}

const textOf = ({ number, place }: Place): string => `${number}-${place}`;

/** The number of each record: the one that was given, and its place among those of one number. Throws ConfigError. */
function numbersOf(number: RecordNumber | readonly RecordNumber[], records: number): Place[] {
  if (!Array.isArray(number)) {
    const first = checkedNumber(number);
    return Array.from({ length: records }, (_, place) => ({ number: first, place }));
  }
  const found = number.map(checkedNumber);
  if (found.length !== records) throw new ConfigError(`send has ${found.length} numbers for ${records} records: give one for each, or a single one for all`);
  found.forEach((each, i) => {
    if (i > 0 && each <= found[i - 1]!) throw new ConfigError(`send: number ${each} comes after ${found[i - 1]}. Numbers must rise; all records of one number go in a call of their own`);
  });
  return found.map((each) => ({ number: each, place: 0 }));
}

function checkedNumber(number: unknown): bigint {
  if (typeof number === 'bigint' && number >= 0n && number <= MOST_NUMBER) return number;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return BigInt(number);
  throw new ConfigError(`send takes as number a whole number from 0, as a bigint beyond 2^53, or a list of them, not ${String(number)}`);
}
