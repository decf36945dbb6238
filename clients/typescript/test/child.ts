// A worker in a process of its own: adds up the numbers of each key in a table, and emits each total.
import { App } from '../src/index.js';

const { APP: name = 'app', URL: redisUrl = '', NAME: member } = process.env;
const app = new App(name, { redisUrl, log: (text) => console.error(text) });
const items = app.stream<{ key: string; number: number }>('items', { partitionBy: 'key', partitions: 4 });
const totals = app.stream<{ key: string; total: number }>('totals', { partitionBy: 'key', partitions: 3 });

app.on(items, { name: 'sums', tables: ['sum'] }, async (record, event) => {
  if (process.env['HANGS']) {
    console.log('it hangs');
    await new Promise(() => undefined);
  }
  const sum = event.table('sum');
  const total = ((await sum.get<number>(record.key)) ?? 0) + record.number;
  sum.set(record.key, total);
  event.emit(totals, { key: record.key, total });
  await new Promise((done) => setTimeout(done, 2));
});

const worker = app.worker({ sessionTimeout: 600, rebalanceDelay: 0, ...(member ? { name: member } : {}) });
process.once('SIGTERM', () => worker.stop());
await worker.run();
