// Writes the names of what a worker runs, for people who inspect an app without its code.
import { described } from './errors.js';
import { registry } from './keys.js';
import type { Link } from './link.js';
import type { Processor } from './processor.js';

/** The words of a stream's entry: partitions, source, size, age in milliseconds, and what happens if it is full. */
const ENTRY = /^(\d+) (\S+) \d+ (\d+ (?:always|until_full))$/;
/** The last two words of a stream that nobody has declared otherwise. */
const KEPT = '0 always';

/** Write app, streams and processor. Nothing depends on it, so if Redis refuses that, it is only said. */
export async function announce(link: Link, processor: Processor, log: (text: string) => void): Promise<void> {
  const { app, stream, name, options, dead } = processor;
  const streams = [stream.name, ...(options.deadLetters ? [dead] : [])];
  const of = { streams: registry.streams(app.name), processors: registry.processors(app.name) };
  const written = await Promise.allSettled([
    link.once(registry.apps, (redis) => redis.sadd(registry.apps, app.name)),
    link.once(of.streams, async (redis) => {
      const stored = await redis.hmget(of.streams, ...streams);
      await redis.hset(of.streams, ...streams.flatMap((each, i) => [each, entryOf(stream, stored[i] ?? '')]));
    }),
    link.once(of.processors, (redis) => redis.hset(of.processors, `${stream.name}@${name}`, stream.partitions)),
  ]);
  const failed = written.find((each) => each.status === 'rejected');
  if (failed !== undefined) log(`processor ${name}: runnel inspect may not find it without code, because Redis took no entry: ${described((failed as PromiseRejectedResult).reason)[1]}`);
}

/** This client has no options for age and retention: those that somebody else has declared stay. */
function entryOf({ partitions, source, size }: Processor['stream'], stored: string): string {
  const [, count, of, kept = KEPT] = ENTRY.exec(stored) ?? [];
  return `${partitions} ${source} ${size} ${Number(count) === partitions && of === source ? kept : KEPT}`;
}
