// Flights of aircraft, as in tests/clients/flights.py: a worker, or with a file, the sender of its flights.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { App } from '../src/index.js';

interface Flight {
  tailnum: string;
  number: number;
  distance: number;
}

const { URL: redisUrl = '', NAME: member } = process.env;
const app = new App('flights', { redisUrl, whenFull: 'wait', log: (text) => console.error(text) });
const flights = app.stream<Flight>('flights', { partitionBy: 'tailnum', partitions: 12 });
const file = process.argv[2];

if (file !== undefined) {
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  for (let i = 0; i < lines.length; i += 200) await flights.sendMany(lines.slice(i, i + 200).map((line) => JSON.parse(line) as Flight));
  app.close();
} else {
  app.on(flights, { name: 'history', tables: ['history'], backoff: 10 }, async ({ tailnum, number, distance }, event) => {
    const history = event.table('history');
    const [count = '0', miles = '0', chain = ''] = ((await history.get<string>(tailnum)) ?? '').split(' ').filter(Boolean);
    const next = createHash('sha1').update(`${chain} ${number}`).digest('hex').slice(0, 16);
    history.set(tailnum, `${Number(count) + 1} ${Number(miles) + distance} ${next}`);
    await new Promise((done) => setTimeout(done, 1));
  });
  const worker = app.worker({ sessionTimeout: 2000, rebalanceDelay: 0, ...(member ? { name: member } : {}) });
  process.once('SIGTERM', () => worker.stop());
  await worker.run();
}
