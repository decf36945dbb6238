// What goes over the wire when replies and calls are lost: the numbers in the names are those of lua/clients.md.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';

import { App, DeliveryTimeout, Refused } from '../src/index.js';
import { Proxy, type Sent } from './proxy.js';
import { type Server, startServer, until } from './server.js';

interface Item {
  readonly key: string;
  readonly number: number;
}

let server: Server;
let proxy: Proxy;
let serial = 0;
before(async () => {
  server = await startServer();
  proxy = await Proxy.before(server.url);
});
after(() => {
  proxy.stop();
  server.stop();
});
beforeEach(() => {
  proxy.sent.length = 0;
  proxy.fate = () => 'pass';
});

function fresh(options: { deliveryTimeout?: number } = {}) {
  const app = new App(`w${++serial}`, { redisUrl: proxy.url, log: () => undefined, ...options });
  return { app, items: app.stream<Item>('items', { partitionBy: 'key', partitions: 2 }) };
}

const FAST = { sessionTimeout: 900, rebalanceDelay: 0, shutdownTimeout: 3000 };
const numbers = (count: number): Item[] => Array.from({ length: count }, (_, number) => ({ key: `k${number % 5}`, number }));

/** Lose the first call of each of these scripts in this way. Returns which were lost. */
function loseFirst(fate: 'lose' | 'mute' | 'drop', ...names: string[]): Sent[] {
  const lost: Sent[] = [];
  proxy.fate = (sent) => {
    if (!names.includes(sent.name) || lost.some((each) => each.name === sent.name)) return 'pass';
    lost.push(sent);
    return fate;
  };
  return lost;
}

for (const fate of ['lose', 'mute', 'drop'] as const) {
  test(`C1 C2 C3 P3: an append without a reply (${fate}) is repeated to the byte on a new connection, and applied once`, async () => {
    const { app, items } = fresh({ deliveryTimeout: 3000 });
    const lost = loseFirst(fate, 'append');
    const ids = await items.sendMany(numbers(20));
    assert.equal(ids.length, 20);
    const repeats = proxy.of('append').filter((each) => each.bytes === lost[0]!.bytes);
    assert.ok(repeats.length >= 2);
    assert.notEqual(repeats[0]!.connection, repeats[1]!.connection);
    const lengths = await Promise.all([0, 1].map((n) => server.redis.xlen(`${items.prefix(n)}:log`)));
    assert.equal(lengths[0]! + lengths[1]!, 20);
    app.close();
  });
}

test('C2: a server that accepts and never speaks costs the time limit, and its connection is closed', async () => {
  let closed = 0;
  const mute = createServer((socket) => void socket.on('error', () => undefined).on('data', () => undefined).on('close', () => (closed += 1)));
  await new Promise<void>((done) => mute.listen(0, '127.0.0.1', done));
  const app = new App('mute', { redisUrl: `redis://127.0.0.1:${(mute.address() as { port: number }).port}`, deliveryTimeout: 300 });
  const items = app.stream<Item>('items', { partitionBy: 'key' });
  await assert.rejects(items.send({ key: 'a', number: 1 }), DeliveryTimeout);
  await until(() => closed > 0, 'it is closed');
  app.close();
  mute.close();
});

test('C5: what is sent as bytes arrives as these bytes', async () => {
  const app = new App(`w${++serial}`, { redisUrl: proxy.url });
  const stream = app.stream<{ key: string; data: Uint8Array }>('items', { partitionBy: 'key', partitions: 1 });
  const data = Uint8Array.from({ length: 256 }, (_, i) => i);
  let got: Uint8Array | undefined;
  app.on(stream, { name: 'reader' }, (record) => {
    got = record.data;
    worker.stop();
  });
  await stream.send({ key: 'a', data });
  const worker = app.worker(FAST);
  await worker.run();
  assert.deepEqual(new Uint8Array(got!), data);
  app.close();
});

test('C3 W3 W9 W19: calls of a worker without a reply are repeated to the byte; only a later sync is another one', async () => {
  const { app, items } = fresh();
  const seen: number[] = [];
  let failures = 0;
  app.on(items, { name: 'reader', tables: ['last'], backoff: 1 }, (record, event) => {
    if (record.number === 7 && failures++ === 0) throw new Error('once');
    if (record.number % 2) event.table('last').set(record.key, record.number);
    seen.push(record.number);
  });
  await items.sendMany(numbers(40));
  proxy.sent.length = 0;
  const kinds = ['declare', 'register', 'sync', 'claim', 'attempt', 'transact', 'commit'];
  const lost = loseFirst('lose', ...kinds);
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen.length === 40, 'all are seen');
  worker.stop();
  await running;
  assert.deepEqual(new Set(lost.map((each) => each.name)), new Set(kinds));
  for (const each of lost) {
    const again = proxy.of(each.name).filter((other) => other.bytes === each.bytes);
    assert.ok(again.length >= 2, `${each.name} is repeated`);
    assert.notEqual(again[0]!.connection, again[1]!.connection);
  }
  assert.deepEqual(new Set(seen).size, 40, 'nothing is lost or seen twice');
  app.close();
});

test('W3: a sync that is not the first has the next number, also if the one before got no reply', async () => {
  const { app, items } = fresh();
  app.on(items, { name: 'reader' }, () => undefined);
  const worker = app.worker(FAST);
  const running = worker.run();
  const numberOf = (each: Sent): number => Number(each.words[3 + 3 + 6]);
  let lost = 0;
  await until(() => proxy.of('sync').some((each) => numberOf(each) >= 2), 'it has joined');
  proxy.fate = (sent) => (sent.name === 'sync' && lost === 0 ? ((lost = numberOf(sent)), 'drop') : 'pass');
  await until(() => lost > 0 && proxy.of('sync').some((each) => numberOf(each) > lost), 'the next one is sent');
  assert.equal(proxy.of('sync').filter((each) => numberOf(each) === lost).length, 1);
  worker.stop();
  await running;
  app.close();
});

test('W7: no event starts once the session may have ended, and work goes on when a sync is answered', async () => {
  const { app, items } = fresh();
  let started = 0;
  app.on(items, { name: 'reader' }, async () => {
    started += 1;
    await new Promise((done) => setTimeout(done, 5));
  });
  await items.sendMany(numbers(2000));
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => started > 0, 'it works');
  proxy.fate = (sent) => (sent.name === 'sync' ? 'drop' : 'pass'); // The rest of its calls is answered.
  let before = -1;
  await until(async () => {
    const same = started === before;
    before = started;
    await new Promise((done) => setTimeout(done, 100)); // Twenty events long.
    return same;
  }, 'it has stopped');
  assert.ok(started < 2000);
  proxy.fate = () => 'pass';
  const stopped = started;
  await until(() => started > stopped, 'it works again');
  worker.stop();
  await running;
  app.close();
});

test('W13 W15: one read covers all partitions, and the looks at their cursors go behind it', async () => {
  const { app, items } = fresh();
  let seen = 0;
  app.on(items, { name: 'reader' }, () => void (seen += 1));
  await items.sendMany(numbers(100));
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen === 100, 'all are seen');
  worker.stop();
  await running;
  const reads = proxy.of('xread').filter((each) => each.words.some((word) => word === `${items.prefix(0)}:log`) && each.words.includes(`${items.prefix(1)}:log`));
  assert.ok(reads.length > 0);
  for (const read of reads) {
    const behind = proxy.sent.slice(proxy.sent.indexOf(read) + 1).filter((each) => each.connection === read.connection).slice(0, 2);
    const [log0, log1, cursor0, cursor1] = read.words.slice(-4);
    assert.deepEqual(behind.map((each) => each.words.slice(1, 4)), [[log0, cursor0, cursor0], [log1, cursor1, cursor1]]);
  }
  app.close();
});

test('W20: an error of the protocol that leaves user code is a failure of its event, not the end of the lease', async () => {
  const { app, items } = fresh();
  let tries = 0;
  app.on(items, { name: 'reader', backoff: 1 }, () => {
    if (tries++ === 0) throw new Refused('FENCED epoch=1');
    worker.stop();
  });
  await items.send({ key: 'a', number: 1 });
  const worker = app.worker(FAST);
  await worker.run();
  assert.equal(tries, 2);
  assert.equal(proxy.of('claim').length - proxy.of('claim').filter((each, i, all) => all.findIndex((one) => one.bytes === each.bytes) < i).length, 2);
  app.close();
});

test('whatever a handler throws is a failure of its event', async () => {
  const { app, items } = fresh();
  const thrown = [undefined, null, 0, 'text', Object.freeze(new Error('frozen')), { toString: () => { throw new Error('no text'); } }, Object.create(null), Symbol('s')];
  const left = [...thrown];
  app.on(items, { name: 'reader', backoff: 1, retries: 100 }, () => {
    if (left.length > 0) throw left.shift();
    worker.stop();
  });
  await items.send({ key: 'a', number: 1 });
  const worker = app.worker(FAST);
  await worker.run();
  assert.equal(proxy.of('attempt').length, thrown.length);
  app.close();
});

test('W26: a worker that cannot finish commits what is finished, releases nothing else, and does not leave', async () => {
  const { app, items } = fresh();
  let started = 0;
  app.on(items, { name: 'reader' }, () => (++started < 3 ? undefined : new Promise(() => undefined)));
  await items.sendMany(Array.from({ length: 5 }, (_, number) => ({ key: 'a', number })));
  const worker = app.worker({ ...FAST, shutdownTimeout: 300 });
  const running = worker.run();
  await until(() => started === 3, 'the third event hangs');
  worker.stop();
  await running;
  const partition = items.partitionOf({ key: 'a', number: 0 });
  const state = await server.redis.hgetall(`${items.prefix(partition)}:processor:reader`);
  assert.deepEqual([state['processed'], state['released'] ?? '0'], ['2', '0']);
  assert.ok(!proxy.of('sync').some((each) => each.words.includes('leave')));
  assert.ok(proxy.of('sync').some((each) => each.words.includes('retire')));
  app.close();
});

test('W1: another start under the same name replaces the worker, which ends with an error', async () => {
  const { app, items } = fresh();
  app.on(items, { name: 'reader' }, () => undefined);
  const first = app.worker({ ...FAST, name: 'same' }).run();
  await until(() => proxy.of('claim').length > 0, 'it works');
  const second = app.worker({ ...FAST, name: 'same' });
  const running = second.run();
  await assert.rejects(first, /another worker has started under the name same/);
  second.stop();
  await running;
  app.close();
});

test('W14: what was written for an event that only a former primary had is in no commit', async () => {
  const { app, items } = fresh();
  const item = (number: number): Item => ({ key: 'a', number });
  const prefix = items.prefix(items.partitionOf(item(1)));
  const seen: number[] = [];
  let finish = (): void => undefined;
  app.on(items, { name: 'reader', tables: ['sums'] }, async ({ key, number }, event) => {
    const sums = event.table('sums');
    sums.set(key, ((await sums.get<number>(key)) ?? 0) + number);
    seen.push(number);
    if (seen.length === 1) await new Promise<void>((done) => (finish = done));
  });
  const worker = app.worker({ ...FAST, sessionTimeout: 5000 });
  const running = worker.run();
  const [lost] = await items.sendMany([item(1)]);
  await until(() => seen.length === 1, 'it has the first event');
  const read = (await until(() => proxy.of('xread').findLast((each) => each.words.includes(lost!)), 'it reads on'))!;
  const answers = proxy.answered.get(read.connection) ?? 0;
  // What the new primary has: the event came anew, behind another one. The processor is registered there.
  const sent = [2, 1].map((number, i) => ['xadd', `${prefix}:log`, `${Date.now() + 1000}-${i}`, 'json', JSON.stringify(item(number))]);
  await server.redis.multi([['del', `${prefix}:log`], ...sent, ['xgroup', 'CREATE', `${prefix}:log`, 'reader', '0', 'ENTRIESREAD', '0']]).exec();
  await until(() => proxy.answered.get(read.connection)! > answers, 'it was told what there is now');
  finish();
  const state = (): Promise<string | null> => server.redis.hget(`${prefix}:processor:reader`, 'processed');
  await until(async () => (await state()) === '2', 'what there is now is processed');
  worker.stop();
  await running;
  assert.deepEqual(seen, [1, 2, 1]);
  assert.equal(await server.redis.hget(`${prefix}:table:sums`, 'a'), '3');
  app.close();
});

test('W16: what waits in memory is bounded in bytes: of large events, fewer are read at a time', async () => {
  const { app, items } = fresh();
  const text = 'x'.repeat(900_000);
  let seen = 0;
  app.on(items, { name: 'reader' }, () => void (++seen === 30 && worker.stop()));
  const sender = new App(app.name, { redisUrl: server.url });
  const stream = sender.stream<Item & { text: string }>('items', { partitionBy: 'key', partitions: 2 });
  await stream.sendMany(Array.from({ length: 30 }, (_, number) => ({ key: 'a', number, text })));
  const worker = app.worker({ ...FAST, sessionTimeout: 5000 });
  await worker.run();
  const counts = proxy.of('xread').map((each) => Number(each.words[each.words.indexOf('COUNT') + 1]));
  assert.ok(counts.some((each) => each < 10), `COUNT was ${counts.join(', ')}`);
  for (const each of [app, sender]) each.close();
});

test('W23: after three unclean tenures each start is recorded, and committed before the next, also after another claim', async () => {
  const { app, items } = fresh();
  const seen: number[] = [];
  app.on(items, { name: 'reader' }, (record) => void seen.push(record.number));
  await app.worker(FAST).run({ signal: AbortSignal.timeout(300) }); // Registers.
  const one = numbers(30).filter((each) => items.partitionOf(each) === 0);
  await items.sendMany(one);
  await server.redis.hset(`${items.prefix(0)}:processor:reader`, 'unclean_tenures', '3');
  proxy.sent.length = 0;
  const worker = app.worker(FAST);
  const running = worker.run();
  await until(() => seen.length === one.length, 'all are seen');
  const isOne = ({ name, words }: Sent): boolean => ['attempt', 'commit'].includes(name) && words.includes(`${items.prefix(0)}:processor:reader`);
  const of = (): Sent[] => [...new Map(proxy.sent.filter(isOne).map((each) => [each.bytes, each])).values()]; // A call may get NOSCRIPT.
  await until(() => of().length === 2 * one.length, 'all are committed');
  const calls = of();
  const starts = calls.filter((each) => each.name === 'attempt').map((each) => each.words.slice(6, 8));
  const log = await server.redis.xrange(`${items.prefix(0)}:log`, '-', '+');
  assert.deepEqual(starts, log.map(([id]) => ['start', id]));
  assert.deepEqual(calls.map((each) => each.name), one.flatMap(() => ['attempt', 'commit']));
  await server.redis.xtrim(`${items.prefix(0)}:log`, 'MAXLEN', 0); // The cursor is gone: the partition is claimed again.
  await items.sendMany(one.slice(0, 3));
  await until(() => of().length === 2 * one.length + 6, 'each of these is recorded and committed, too');
  worker.stop();
  await running;
  app.close();
});
