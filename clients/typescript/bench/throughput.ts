// How fast a worker is, beside a bare loop of XREAD with the same library and the same decoding, on a server of its own.
//
//   npm run bench                  100,000 events, three rounds
//   npm run bench -- 20000 1       so many events and rounds
//   npm run bench -- 100000 3 0.6  fails if the ratio is lower
import { Redis } from 'ioredis';

import { App } from '../src/index.js';
import { startServer } from '../test/server.js';

const [events = 100_000, rounds = 3, least = 0] = process.argv.slice(2).map(Number);
const PARTITIONS = 12;
/** Entries of each partition that one XREAD fetches, as the worker does. */
const COUNT = 200;

interface Reading {
  readonly sensor: string;
  readonly number: number;
  readonly value: number;
  readonly unit: string;
}

const server = await startServer();
const app = new App('bench', { redisUrl: server.url });
const readings = app.stream<Reading>('readings', { partitionBy: 'sensor', partitions: PARTITIONS, size: events + 2 });
const record = (number: number): Reading => ({ sensor: `sensor-${number % 997}`, number, value: number / 7, unit: 'hPa' });

interface Speed {
  /** Events a second, and microseconds of this process's CPU for each: the second number knows nothing of busy neighbours. */
  readonly rate: number;
  readonly cpu: number;
}

async function timed(work: () => Promise<unknown>): Promise<Speed> {
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { rate: events / ((performance.now() - began) / 1000), cpu: (user + system) / events };
}

/** Read and decode all, and keep nothing: no leases, no commits, no look at the cursor. */
async function bareLoop(): Promise<void> {
  const redis = new Redis(server.url);
  const logs = Array.from({ length: PARTITIONS }, (_, partition) => `${readings.prefix(partition)}:log`);
  const cursors = logs.map(() => '0-0');
  let sum = 0;
  for (let left = events; left > 0; ) {
    const reply = (await redis.callBuffer('XREAD', 'COUNT', String(COUNT), 'STREAMS', ...logs, ...cursors)) as [Buffer, [Buffer, Buffer[]][]][];
    for (const [log, entries] of reply) {
      for (const [, fields] of entries) sum += readings.decode(fields).number;
      cursors[logs.indexOf(log.toString())] = entries.at(-1)![0].toString();
      left -= entries.length;
    }
  }
  check(sum);
  redis.disconnect();
}

function check(sum: number): void {
  const expected = (events * (events - 1)) / 2;
  if (sum !== expected) throw new Error(`the numbers add up to ${sum}, not ${expected}`);
}

/** From the start of a worker to its last commit: it joins, claims, reads, decodes, calls the handler, commits, leaves. */
async function worker(round: number): Promise<void> {
  let sum = 0;
  let left = events;
  app.on(readings, { name: `reader-${round}` }, (reading) => {
    sum += reading.number;
    if (--left === 0) worker.stop();
  });
  const worker = app.worker({ processors: [`reader-${round}`], rebalanceDelay: 0 });
  await worker.run();
  check(sum);
}

const sent = await timed(() => readings.sendMany(Array.from({ length: events }, (_, number) => record(number))));
const ratios: number[] = [];
const show = ({ rate, cpu }: Speed): string => `${Math.round(rate).toLocaleString('en').padStart(9)} (${cpu.toFixed(1).padStart(5)} µs)`;
console.log(`${events.toLocaleString('en')} events in ${PARTITIONS} partitions, Node.js ${process.versions.node}; events a second (CPU for each):`);
console.log(`  sendMany       ${show(sent)}`);
await bareLoop(); // Warms up.
await worker(0);
for (let round = 1; round <= rounds; round++) {
  const bare = await timed(bareLoop);
  const ours = await timed(() => worker(round));
  ratios.push(ours.rate / bare.rate);
  console.log(`  bare XREAD     ${show(bare)}   worker ${show(ours)}   ratio ${(ours.rate / bare.rate).toFixed(2)}`);
}
const ratio = [...ratios].sort((a, b) => a - b)[ratios.length >> 1]!;
console.log(`ratio ${ratio.toFixed(2)} (median of ${ratios.length})`);
app.close();
server.stop();
if (ratio < least) {
  console.error(`below ${least}`);
  process.exitCode = 1;
}
