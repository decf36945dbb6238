// What a handler may be and return, and which times make sense.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { App, ConfigError, type ProcessorOptions } from '../src/index.js';
import { type Server, startServer, until } from './server.js';

let server: Server;
let serial = 0;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

function fresh() {
  const app = new App(`h${++serial}`, { redisUrl: server.url, log: () => undefined });
  return { app, items: app.stream<{ key: string }>('items', { partitionBy: 'key', partitions: 1 }) };
}

function* generator() {
  yield 1;
}
async function* asyncGenerator() {
  yield 1;
}
const refused = (option: string | RegExp) => (error: Error): boolean =>
  error instanceof ConfigError && (typeof option === 'string' ? error.message.includes(option) : option.test(error.message));

for (const [what, result, said] of [
  ['a generator', () => generator(), /iterator, which nothing runs/],
  ['an asynchronous generator', () => asyncGenerator(), /iterator, which nothing runs/],
  ['a promise of a generator', () => Promise.resolve(generator()), /iterator, which nothing runs/],
  ['a list with promises', () => [1, Promise.resolve()], /a list with promises, for which nothing waits/],
  ['a promise of a list with promises', async () => [Promise.resolve()], /a list with promises/],
] as const) {
  for (const kind of ['on', 'onBatch'] as const) {
    test(`${kind}: a handler that returns ${what} has failed`, async () => {
      const { app, items } = fresh();
      const options = { name: 'p', retries: 0, timeout: Infinity };
      if (kind === 'on') app.on(items, options, result);
      else app.onBatch(items, { ...options, size: 1 }, result);
      await items.send({ key: 'a' });
      const worker = app.worker({ sessionTimeout: 900, rebalanceDelay: 0 });
      const running = worker.run();
      const state = `${items.prefix(0)}:processor:p`;
      await until(async () => (await server.redis.hget(state, 'quarantined')) === '1', 'its partition is quarantined');
      assert.match((await server.redis.hget(state, 'error_message'))!, said);
      worker.stop();
      await running;
      app.close();
    });
  }
}

test('other results mean that the event is finished', async () => {
  const { app, items } = fresh();
  const results = [undefined, null, 'text', [1, null], { next: 1 }, new Map([[1, 2]])];
  let seen = 0;
  app.on(items, { name: 'p', policy: 'halt', retries: 0 }, () => results[seen++]);
  await items.sendMany(results.map(() => ({ key: 'a' })));
  const worker = app.worker({ sessionTimeout: 900, rebalanceDelay: 0 });
  const running = worker.run();
  await until(async () => (await server.redis.hget(`${items.prefix(0)}:processor:p`, 'processed')) === String(results.length), 'all are committed');
  worker.stop();
  await running;
  app.close();
});

test('a handler must be a function that is no generator', () => {
  const { app, items } = fresh();
  for (const handler of [undefined, null, {}, 'run', generator, asyncGenerator, generator.bind(null)]) {
    const said = typeof handler === 'function' ? /processor p: .* generator function/ : /processor p: the handler must be a function, not /;
    assert.throws(() => app.on(items, { name: 'p' }, handler as never), refused(said));
    assert.throws(() => app.onBatch(items, { name: 'p', size: 1 }, handler as never), refused(said));
  }
  assert.equal(app.processors.size, 0);
});

const NO_TIMES = [NaN, -1, 2 ** 31, 1e12, '1s', '100', null, {}];

test('times that make no sense are refused where they are given', () => {
  const { app, items } = fresh();
  for (const option of ['timeout', 'backoff', 'backoffMax']) {
    for (const value of [...NO_TIMES, ...(option === 'timeout' ? [0] : [Infinity])]) {
      const options = { name: 'p', [option]: value } as unknown as ProcessorOptions;
      assert.throws(() => app.on(items, options, () => undefined), refused(`processor p: ${option} must be`), `${option}: ${String(value)}`);
    }
  }
  for (const option of ['sessionTimeout', 'rebalanceTimeout', 'rebalanceDelay', 'shutdownTimeout', 'maxBlock']) {
    for (const value of [...NO_TIMES, Infinity, ...(option === 'sessionTimeout' ? [0, 1, 99, 100.5] : [])]) {
      assert.throws(() => app.worker({ [option]: value }), refused(`worker: ${option}`), `${option}: ${String(value)}`);
    }
  }
  for (const option of ['deliveryTimeout', 'dedupeWindow']) {
    for (const value of [NaN, -1, Infinity, 1e12, 1.5, '1s', ...(option === 'deliveryTimeout' ? [0] : [])]) {
      assert.throws(() => new App('a', { [option]: value }), refused(`app a: ${option}`), `${option}: ${String(value)}`);
    }
  }
});

test('times of a send that make no sense are refused', async () => {
  const { app, items } = fresh();
  for (const wait of [NaN, -1, '5']) await assert.rejects(items.send({ key: 'a' }, { wait: wait as never }), refused('send takes wait'));
  for (const delay of [NaN, -1, Infinity, '5']) await assert.rejects(items.send({ key: 'a' }, { delay: delay as never }), refused('send: delay takes'));
  app.close();
});
