// Workers against a real server: order, hand-over, failures, effects, losses.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { App, Halted } from '../src/index.js';
import { type Server, startServer, until } from './server.js';

interface Item {
  key: string;
  number: number;
}

let server: Server;
let serial = 0;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

function fresh(): { app: App; items: ReturnType<App['stream']>; said: string[] } {
  const said: string[] = [];
  const app = new App(`t${++serial}`, { redisUrl: server.url, log: (text) => said.push(text) });
  const items = app.stream<Item>('items', { partitionBy: 'key', partitions: 4 }) as unknown as ReturnType<App['stream']>;
  return { app, items, said };
}

const FAST = { sessionTimeout: 1000, rebalanceDelay: 0, shutdownTimeout: 3000 };
const numbers = (count: number): { key: string; number: number }[] => Array.from({ length: count }, (_, i) => ({ key: `k${i % 7}`, number: i }));

function inOrder(seen: { key: string; number: number }[]): void {
  const last = new Map<string, number>();
  for (const { key, number } of seen) {
    assert.ok(number > (last.get(key) ?? -1), `${key}: ${number} after ${last.get(key)}`);
    last.set(key, number);
  }
}

async function state(app: string, processor: string, partition: number): Promise<Record<string, string>> {
  return server.redis.hgetall(`runnel:{${app}:items:${partition}}:items:processor:${processor}`);
}

test('all events of a key are processed in order, once, and committed', async () => {
  const { app, items } = fresh();
  const seen: any[] = [];
  app.on(items, { name: 'reader' }, (record) => void seen.push(record));
  const ids = await items.sendMany(numbers(500));
  assert.equal(ids.length, 500);
  assert.match(ids[0]!, /^\d+-\d+$/);
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen.length === 500, 'all are seen');
  worker.stop();
  await running;
  inOrder(seen);
  let processed = 0;
  for (let n = 0; n < 4; n++) {
    const found = await state(app.name, 'reader', n);
    processed += Number(found['processed'] ?? 0);
    assert.equal(found['released'], '1');
  }
  assert.equal(processed, 500);
  app.close();
});

test('partitions move between workers, and nothing is seen twice', async () => {
  const { app, items } = fresh();
  const seen: any[] = [];
  app.on(items, { name: 'reader' }, async (record) => {
    seen.push(record);
    await new Promise((done) => setTimeout(done, 1));
  });
  const options = { ...FAST, sessionTimeout: 20_000 }; // On a busy machine a shorter session may end meanwhile.
  const first = app.worker({ ...options, name: 'one' });
  const one = first.run();
  await items.sendMany(numbers(300));
  const second = app.worker({ ...options, name: 'two' });
  const two = second.run();
  await until(async () => {
    const owners = await Promise.all([0, 1, 2, 3].map((n) => state(app.name, 'reader', n)));
    return owners.filter((each) => each['owner'] === 'two').length === 2;
  }, 'the second worker has half of the partitions');
  await items.sendMany(numbers(600).slice(300));
  first.stop();
  await one;
  await until(() => seen.length >= 600, 'all are seen');
  second.stop();
  await two;
  assert.equal(seen.length, 600);
  inOrder(seen);
  app.close();
});

test('a failing event is retried in place, then its partition is quarantined and the others go on', async () => {
  const { app, items, said } = fresh();
  const seen: number[] = [];
  let tries = 0;
  app.on(items, { name: 'picky', retries: 2, backoff: 1 }, (record: any, event) => {
    if (record.number === 3) {
      tries += 1;
      assert.equal(event.attempt, tries);
      throw new TypeError('3 is not wanted');
    }
    seen.push(record.number);
  });
  await items.sendMany(numbers(20));
  const worker = app.worker(FAST);
  const running = worker.run();
  const bad = items.partitionOf({ key: 'k3' });
  await until(async () => (await state(app.name, 'picky', bad))['quarantined'] === '1', 'it is quarantined');
  const others = numbers(20).filter((each) => items.partitionOf(each) !== bad).length;
  await until(() => seen.filter((each) => items.partitionOf({ key: `k${each % 7}` }) !== bad).length === others, 'others go on');
  const found = await state(app.name, 'picky', bad);
  assert.equal(found['error_type'], 'TypeError');
  assert.equal(found['attempts'], '3');
  assert.equal(tries, 3);
  assert.ok(!seen.includes(10), 'an event of the same key waits');
  assert.ok(said.some((each) => each.includes('is quarantined')));
  worker.stop();
  await running;
  app.close();
});

test('under the policy ignore, an event becomes a dead letter with the same commit', async () => {
  const { app, items } = fresh();
  const seen: number[] = [];
  app.on(items, { name: 'picky', policy: 'ignore', deadLetters: true, retries: 0 }, (record: any) => {
    if (record.number === 3) throw new Error('3 is not wanted');
    seen.push(record.number);
  });
  await items.sendMany(numbers(20));
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen.length === 19, 'all others are seen');
  worker.stop();
  await running;
  const partition = items.partitionOf({ key: 'k3' });
  const letters = await server.redis.xlen(`runnel:{${app.name}:items:${partition}}:items.picky.dead:log`);
  assert.equal(letters, 1);
  app.close();
});

test('under the policy halt, the worker ends with the error', async () => {
  const { app, items } = fresh();
  app.on(items, { name: 'picky', policy: 'halt', retries: 0 }, () => {
    throw new Error('no');
  });
  await items.send({ key: 'a', number: 1 });
  await assert.rejects(app.worker(FAST).run(), Halted);
  app.close();
});

test('under the policy park, only the key steps aside, and a replay is in order', async () => {
  const { app, items } = fresh();
  const seen: number[] = [];
  const headers: unknown[] = [];
  let broken = true;
  app.on(items, { name: 'picky', policy: 'park', retries: 0 }, (record: any, event: any) => {
    if (record.number === 3 && broken) throw new Error('3 is not wanted');
    if (record.key === 'k3') headers.push(event.headers['failed']);
    seen.push(record.number);
  });
  // The last field of each entry has the name under which other clients keep how an event failed.
  await items.sendMany(numbers(21), { headers: { failed: '1 of mine' } });
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen.length === 18, 'the events of other keys are seen');
  assert.deepEqual(seen.filter((each) => each % 7 === 3), []);
  const partition = items.partitionOf({ key: 'k3' });
  await until(async () => (await state(app.name, 'picky', partition))['parked'] === '3', 'three are parked');
  broken = false;
  const prefix = `runnel:{${app.name}:items:${partition}}:items`;
  const { script } = await import('../src/scripts.js');
  const keys = [`${prefix}:processor:picky`, `${prefix}:parked_keys:picky`, `${prefix}:replay:picky`];
  await server.redis.call('EVAL', [script('replay').source, 3, ...keys, 'n'.repeat(16), 'k3'] as any);
  const plan = `runnel:{${app.name}:items@picky}:plan`;
  await server.redis.call('EVAL', [script('revoke').source, 1, plan, partition] as any);
  await until(() => seen.length === 21, 'the parked ones are replayed');
  assert.deepEqual(seen.filter((each) => each % 7 === 3), [3, 10, 17]);
  assert.deepEqual(headers, ['1 of mine', '1 of mine', '1 of mine'], 'no field of an event is lost');
  await until(async () => (await state(app.name, 'picky', partition))['parked'] === '0', 'none is parked any more');
  worker.stop();
  await running;
  app.close();
});

test('tables and emits are written with the commit, and undone with a failed event', async () => {
  const { app, items } = fresh();
  const totals = app.stream<{ key: string; total: number }>('totals', { partitionBy: 'key', partitions: 3 });
  const failed = new Set<number>();
  app.on(items, { name: 'sums', retries: 3, backoff: 1, tables: ['sum'] }, async (record: any, event) => {
    const sum = event.table('sum');
    const total = ((await sum.get<number>(record.key)) ?? 0) + record.number;
    sum.set(record.key, total);
    event.emit(totals, { key: record.key, total });
    if (record.number % 5 === 0 && !failed.has(record.number)) {
      failed.add(record.number);
      throw new Error('once');
    }
  });
  const got: any[] = [];
  app.on(totals, { name: 'collector' }, (record) => void got.push(record));
  await items.sendMany(numbers(70));
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => got.length >= 70, 'all totals arrive');
  worker.stop();
  await running;
  assert.equal(got.length, 70);
  for (let k = 0; k < 7; k++) {
    const expected = numbers(70).filter((each) => each.key === `k${k}`).reduce((sum, each) => sum + each.number, 0);
    const stored = await server.redis.hget(`runnel:{${app.name}:items:${items.partitionOf({ key: `k${k}` })}}:items:table:sum`, `k${k}`);
    assert.equal(stored, String(expected));
    assert.equal(got.filter((each) => each.key === `k${k}`).at(-1).total, expected);
  }
  app.close();
});

test('a batch that fails is tried one by one, and only the bad event is given up', async () => {
  const { app, items } = fresh();
  const seen: number[] = [];
  app.onBatch(items, { name: 'lists', size: 10, policy: 'ignore', retries: 0 }, (events) => {
    if (events.some((each: any) => each.record.number === 13)) throw new Error('13');
    seen.push(...events.map((each: any) => each.record.number));
  });
  await items.sendMany(numbers(40));
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen.length === 39, 'all others are seen');
  worker.stop();
  await running;
  assert.ok(!seen.includes(13));
  const states = await Promise.all([0, 1, 2, 3].map((n) => state(app.name, 'lists', n)));
  assert.equal(states.reduce((sum, each) => sum + Number(each['processed']), 0), 40, 'W18: each event counts once');
  inOrder(seen.map((number) => ({ key: `k${number % 7}`, number })));
  app.close();
});

test('events that others trim are counted as lost, and said', async () => {
  const { app, items, said } = fresh();
  const seen: number[] = [];
  app.on(items, { name: 'reader' }, (record: any) => void seen.push(record.number));
  const one = Array.from({ length: 10 }, (_, number) => ({ key: 'k', number }));
  const first = app.worker(FAST);
  let running = first.run();
  await items.sendMany(one.slice(0, 3));
  await until(() => seen.length === 3, 'three are seen');
  first.stop();
  await running;
  await items.sendMany(one.slice(3));
  const partition = items.partitionOf({ key: 'k' });
  await server.redis.xtrim(`runnel:{${app.name}:items:${partition}}:items:log`, 'MAXLEN', 2);
  const second = app.worker(FAST);
  running = second.run();
  await until(() => seen.length === 5, 'the last two are seen');
  second.stop();
  await running;
  assert.deepEqual(seen, [0, 1, 2, 8, 9]);
  assert.equal((await state(app.name, 'reader', partition))['lost'], '5');
  assert.ok(said.some((each) => each.includes('LOST 5 events')), said.join('\n'));
  app.close();
});

test('SCRIPT FLUSH and closed connections cost nothing', async () => {
  const { app, items } = fresh();
  const seen: any[] = [];
  app.on(items, { name: 'reader', tables: ['count'] }, async (record: any, event) => {
    const count = event.table('count');
    count.set(record.key, ((await count.get<number>(record.key)) ?? 0) + 1);
    seen.push(record);
  });
  const worker = app.worker(FAST);
  const running = worker.run();
  for (let i = 0; i < 10; i++) {
    const sending = items.sendMany(numbers(700).slice(70 * i, 70 * i + 70));
    await server.redis.script('FLUSH');
    if (i % 3 === 0) await server.redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await sending;
  }
  await until(async () => {
    const found = await Promise.all([0, 1, 2, 3].map((n) => state(app.name, 'reader', n)));
    return found.reduce((sum, each) => sum + Number(each['processed'] ?? 0), 0) === 700;
  }, 'all are committed');
  worker.stop();
  await running;
  for (let k = 0; k < 7; k++) {
    const partition = items.partitionOf({ key: `k${k}` });
    assert.equal(await server.redis.hget(`runnel:{${app.name}:items:${partition}}:items:table:count`, `k${k}`), '100');
  }
  app.close();
});

test('events that another client has delayed come when they are due, and before what is sent then', async () => {
  const { app, items } = fresh();
  const seen: number[] = [];
  app.on(items, { name: 'reader' }, (record: any) => void seen.push(record.number));
  const worker = app.worker(FAST);
  const running = worker.run();
  await items.send({ key: 'k', number: 1 });
  await until(() => seen.length === 1, 'the first one is seen');
  const prefix = `runnel:{${app.name}:items:${items.partitionOf({ key: 'k' })}}:items`;
  const { script } = await import('../src/scripts.js');
  const later = (key: string, delay: number, number: number): Promise<unknown> =>
    server.redis.call('EVAL', [
      script('append_later').source, 3, `${prefix}:meta`, `${prefix}:delayed`, `${prefix}:delayed:${key}`,
      1, 4, 'xxh64', 50_000, 'delay', delay, 60_000, 2, 'json', JSON.stringify({ key: 'k', number }),
    ] as any);
  await later('a', 300, 3);
  await later('b', 100, 2);
  await until(() => seen.length === 3, 'they come by themselves', 10);
  worker.stop();
  await running;
  await later('c', 0, 4);
  await new Promise((done) => setTimeout(done, 5)); // It is due in a later millisecond than it was sent.
  await items.send({ key: 'k', number: 5 });
  const last = app.worker(FAST).run({ signal: AbortSignal.timeout(3000) });
  await until(() => seen.length === 5, 'the rest is seen');
  await last;
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  app.close();
});

test('W14: a server that comes back with its data costs nothing, W2: keys that were lost are registered again', async () => {
  const own = await startServer({ appendonly: 'yes', appendfsync: 'always' });
  const said: string[] = [];
  const app = new App('back', { redisUrl: own.url, log: (text) => said.push(text) });
  const items = app.stream<Item>('items', { partitionBy: 'key', partitions: 2 });
  const seen: Item[] = [];
  app.on(items, { name: 'reader' }, async (record) => {
    seen.push(record);
    await new Promise((done) => setTimeout(done, 1));
  });
  const worker = app.worker({ ...FAST, sessionTimeout: 5000 });
  const running = worker.run();
  await items.sendMany(numbers(300));
  await until(() => seen.length > 50, 'it works');
  await own.restart();
  await items.sendMany(numbers(400).slice(300));
  await until(() => seen.length >= 400, 'all are seen');
  assert.deepEqual(seen.length, 400);
  inOrder(seen);
  for (let n = 0; n < 2; n++) await own.redis.del(`${items.prefix(n)}:log`, `${items.prefix(n)}:meta`, `${items.prefix(n)}:processor:reader`);
  await items.sendMany(numbers(500).slice(400));
  await until(() => seen.length >= 500, 'new events are seen');
  assert.ok(said.some((each) => /keys were lost/.test(each)), said.join('\n'));
  worker.stop();
  await running;
  app.close();
  own.stop();
});
