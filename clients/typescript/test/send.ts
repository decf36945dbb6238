// Sends the numbers of some keys: node send.js COUNT KEYS FIRST LAST.
import { App } from '../src/index.js';

const [count = 0, keys = 1, first = 0, last = 0] = process.argv.slice(2).map(Number);
// A primary may be lost meanwhile: on a busy machine the sentinels need longer than a sender waits by default.
const app = new App(process.env['APP'] ?? 'app', { redisUrl: process.env['URL'] ?? '', whenFull: 'wait', deliveryTimeout: 60_000 });
const items = app.stream<{ key: string; number: number }>('items', { partitionBy: 'key', partitions: 4 });
const numbers = Array.from({ length: count }, (_, number) => ({ key: `k${number % keys}`, number }));
await items.sendMany(numbers.filter((each) => each.number % keys >= first && each.number % keys <= last));
app.close();
