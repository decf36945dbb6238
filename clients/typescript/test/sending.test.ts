// What is sent: once, later, in bulk, under numbers, and what happens if there is no room.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { App, ConfigError, DeliveryTimeout, EarlierNotSent, EncodeError, FullError, ProducerInUse, type StandardSchema, type StreamOptions } from '../src/index.js';
import { Proxy } from './proxy.js';
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

function fresh(options: Partial<StreamOptions<Item>> = {}, name = `s${++serial}`) {
  const app = new App(name, { redisUrl: proxy.url, log: () => undefined });
  return { app, items: app.stream<Item>('items', { partitionBy: 'key', partitions: 2, ...options }) };
}

const FAST = { sessionTimeout: 900, rebalanceDelay: 0, shutdownTimeout: 3000 };
const items = (count: number, from = 0): Item[] => Array.from({ length: count }, (_, i) => ({ key: `k${(from + i) % 7}`, number: from + i }));

/** The numbers in the log, partition by partition. */
async function logged(stream: ReturnType<typeof fresh>['items']): Promise<number[]> {
  const found: number[] = [];
  for (let n = 0; n < stream.partitions; n++) {
    const entries = (await server.redis.callBuffer('XRANGE', `${stream.prefix(n)}:log`, '-', '+')) as [Buffer, Buffer[]][];
    found.push(...entries.map(([, fields]) => stream.decode(fields).number));
  }
  return found.sort((a, b) => a - b);
}

/** Lose the reply of the first call of this script. */
function loseFirst(name: string): void {
  let lost = false;
  proxy.fate = (sent) => {
    if (lost || sent.name !== name) return 'pass';
    lost = true;
    return 'lose';
  };
}

test('a record with dedupe is sent once, though a reply is lost, and its id is returned each time', async () => {
  const { app, items: stream } = fresh();
  await stream.send({ key: 'a', number: 0 });
  loseFirst('append_once');
  const first = await stream.send({ key: 'a', number: 1 }, { dedupe: 'order-1' });
  assert.equal(await stream.send({ key: 'a', number: 1 }, { dedupe: 'order-1' }), first);
  assert.notEqual(await stream.send({ key: 'a', number: 2 }, { dedupe: 'order-2' }), first);
  assert.deepEqual(await logged(stream), [0, 1, 2]);
  await assert.rejects(stream.send({ key: 'a', number: 1 }, { dedupe: '' }), ConfigError);
  app.close();
});

test('delayed records come when they are due, and not if they were cancelled', async () => {
  const { app, items: stream } = fresh({ partitions: 1 });
  const seen: number[] = [];
  app.on(stream, { name: 'reader' }, (record) => void seen.push(record.number));
  const worker = app.worker(FAST);
  const running = worker.run();
  await stream.send({ key: 'a', number: 0 });
  loseFirst('append_later');
  const gone = await stream.send({ key: 'a', number: 3 }, { delay: 60_000 });
  assert.ok(gone.due.getTime() > Date.now() + 30_000);
  const [first] = await stream.sendMany([{ key: 'a', number: 2 }], { at: new Date(Date.now() + 300) });
  await stream.send({ key: 'b', number: 1 }, { delay: 100 });
  assert.equal(await stream.cancel(gone), true);
  assert.equal(await stream.cancel(gone), false);
  const other = await stream.send({ key: 'a', number: 4 }, { delay: 60_000 });
  loseFirst('cancel');
  await assert.rejects(stream.cancel(other), DeliveryTimeout, 'nobody knows whether this call has removed it');
  await until(() => seen.length === 3, 'two have come');
  assert.deepEqual(seen, [0, 1, 2]);
  assert.equal(await stream.cancel(first!), false, 'it is in the log');
  worker.stop();
  await running;
  app.close();
});

for (const [what, options] of [
  ['both times', { at: new Date(), delay: 1 }], ['a negative delay', { delay: -1 }], ['no number', { delay: NaN }], ['two years', { delay: 2 * 366 * 86_400_000 }],
  ['no date', { at: new Date('x') }], ['dropOldest', { delay: 1, dropOldest: true }], ['a bad wait', { wait: -1 }],
] as const) {
  test(`send refuses ${what}`, async () => {
    const { app, items: stream } = fresh();
    await assert.rejects(stream.send({ key: 'a', number: 1 }, options as never), ConfigError);
    app.close();
  });
}

test('without room, a send is refused, waits, or drops the oldest', async () => {
  const { app, items: stream } = fresh({ partitions: 1, size: 10 });
  app.on(stream, { name: 'reader' }, () => undefined);
  await app.worker(FAST).run({ signal: AbortSignal.timeout(200) }); // Registers, and leaves.
  await stream.sendMany(items(10));
  await assert.rejects(stream.send({ key: 'a', number: 10 }), (error) => error instanceof FullError && /processor reader/.test(error.message));
  await assert.rejects(stream.send({ key: 'a', number: 10 }, { wait: 50 }), FullError);
  const waiting = stream.send({ key: 'a', number: 11 }, { wait: true });
  const worker = app.worker(FAST);
  const running = worker.run();
  await waiting;
  worker.stop();
  await running;
  app.close();
  const { app: other, items: same } = fresh({ partitions: 1, size: 10 }, app.name);
  await same.sendMany(items(30, 20), { dropOldest: true });
  assert.equal((await logged(same)).at(-1), 49);
  other.close();
});

test('a bulk send takes what an iterable yields, in order for each key; its error says what was sent', async () => {
  const { app, items: stream } = fresh();
  async function* many(): AsyncGenerator<Item> {
    for (const each of items(6000)) yield each;
  }
  const ids = await stream.sendMany(many());
  assert.equal(new Set(items(6000).map((each, i) => `${stream.partitionOf(each)} ${ids[i]}`)).size, 6000);
  assert.deepEqual(await logged(stream), items(6000).map((each) => each.number));
  const { app: small, items: narrow } = fresh({ partitions: 1, size: 3 });
  const failure = await narrow.sendMany(items(5)).catch((error: unknown) => error as FullError);
  assert.ok(failure instanceof FullError);
  assert.deepEqual(failure.sent?.map((each) => typeof each), ['string', 'string', 'undefined', 'undefined', 'undefined']);
  await assert.rejects(stream.sendMany([{ key: 'a', number: 1 }, { key: 'a', number: 2 ** 60 }]), EncodeError);
  assert.equal((await logged(stream)).length, 6000, 'nothing of a list with a bad record');
  for (const each of [app, small]) each.close();
});

test('records with numbers are there once, though the producer starts again earlier and replies are lost', async () => {
  const { app, items: stream } = fresh();
  const producer = app.producer({ id: 'file-1' });
  loseFirst('append_numbered');
  const ids = await producer.send(stream, items(20), { number: Array.from({ length: 20 }, (_, i) => i) });
  assert.ok(ids.every((each) => typeof each === 'string'));
  assert.equal(await producer.last(stream), 19n);
  app.close();
  const { app: later, items: same } = fresh({}, app.name);
  const again = later.producer({ id: 'file-1' });
  const found = await again.send(same, items(20, 10), { number: Array.from({ length: 20 }, (_, i) => i + 10) });
  assert.deepEqual(found.map((each) => each === null), Array.from({ length: 20 }, (_, i) => i < 10));
  assert.deepEqual(await again.send(same, [{ key: 'x', number: 30 }, { key: 'x', number: 31 }], { number: 2n ** 60n }).then((all) => all.length), 2);
  assert.deepEqual(await logged(same), Array.from({ length: 32 }, (_, i) => i));
  await assert.rejects(again.send(same, items(1), { number: 5 }), /comes after/);
  await assert.rejects(again.send(same, items(1), { number: -1 }), ConfigError);
  await assert.rejects(again.send(same, items(2), { number: [2n ** 61n, 2n ** 61n] }), /must rise/);
  later.close();
});

test('a numbered send that fails must be repeated before the next; two processes under one id are found', async () => {
  const { app, items: stream } = fresh({ partitions: 1, size: 4 });
  const producer = app.producer({ id: 'one' });
  await producer.send(stream, items(3), { number: 1 });
  const [second, third] = await Promise.allSettled([producer.send(stream, items(3), { number: 2 }), producer.send(stream, items(1), { number: 3 })]);
  assert.ok(second?.status === 'rejected' && second.reason instanceof FullError);
  assert.ok(third?.status === 'rejected' && third.reason instanceof EarlierNotSent);
  await assert.rejects(producer.send(stream, items(1), { number: 4 }), EarlierNotSent);
  const { app: wide, items: same } = fresh({ partitions: 1 }, app.name);
  const again = wide.producer({ id: 'one' });
  await again.send(same, items(1), { number: 2 });
  await wide.producer({ id: 'one' }).send(same, items(1), { number: 7 });
  await assert.rejects(again.send(same, items(1), { number: 6 }), ProducerInUse);
  for (const each of [app, wide]) each.close();
});

test('P6 P7: if the partition has forgotten the producer, or a failover has lost its appends, it goes on under a new id', async () => {
  const said: string[] = [];
  const app = new App(`s${++serial}`, { redisUrl: proxy.url, log: (text) => said.push(text) });
  const stream = app.stream<Item>('items', { partitionBy: 'key', partitions: 1 });
  for (const each of items(3)) await stream.send(each);
  await server.redis.del(`${stream.prefix(0)}:producers`);
  await stream.send(items(1, 3)[0]!);
  await stream.send(items(1, 4)[0]!);
  const [id] = await server.redis.hkeys(`${stream.prefix(0)}:producers`);
  const [, first, count] = (await server.redis.hget(`${stream.prefix(0)}:producers`, id!))!.split(' ');
  await server.redis.hset(`${stream.prefix(0)}:producers`, id!, `1 ${first} ${count}`); // As if append 2 had been lost.
  await stream.send(items(1, 5)[0]!);
  assert.deepEqual(await logged(stream), [0, 1, 2, 3, 4, 5]);
  assert.ok(said.some((each) => /a failover has LOST/.test(each)));
  await server.redis.del(`${stream.prefix(0)}:meta`);
  await stream.send(items(1, 6)[0]!);
  assert.deepEqual((await logged(stream)).at(-1), 6);
  app.close();
});

test('a schema checks what is sent and what is read, and its output is the record', async () => {
  const validate = (value: any): any =>
    typeof value.number === 'number' ? { value: { ...value, number: value.number + 0.5 } } : { issues: [{ message: 'must be a number', path: ['number'] }] };
  const schema: StandardSchema<Item> = { '~standard': { validate } };
  const { app, items: stream } = fresh({ schema });
  await assert.rejects(stream.send({ key: 'a', number: 'x' } as never), (error) => error instanceof EncodeError && /number: must be a number/.test(error.message));
  await stream.send({ key: 'a', number: 1 });
  const { app: loose, items: unchecked } = fresh({}, app.name);
  await unchecked.send({ key: 'a', number: 'x' } as never);
  const said: string[] = [];
  const seen: number[] = [];
  const reader = new App(app.name, { redisUrl: proxy.url, log: (text) => said.push(text) });
  const typed = reader.stream<Item>('items', { partitionBy: 'key', partitions: 2, schema });
  reader.on(typed, { name: 'reader', policy: 'ignore' }, (record) => void seen.push(record.number));
  const worker = reader.worker(FAST);
  const running = worker.run();
  await until(() => said.some((each) => /DecodeError.*number: must be a number/.test(each)), 'the bad one is given up');
  worker.stop();
  await running;
  assert.deepEqual(seen, [2]);
  for (const each of [app, loose, reader]) each.close();
});

test('keys of a table that expires have their times, and old ones leave with later commits', async () => {
  const { app, items: stream } = fresh({ partitions: 1 });
  let seen = 0;
  app.on(stream, { name: 'reader', tables: [{ name: 'last', expire: 1000 }, 'kept'] }, (record, event) => {
    event.table('last').set(record.key, record.number);
    event.table('kept').set(record.key, 2n ** 60n);
    seen += 1;
  });
  const worker = app.worker(FAST);
  const running = worker.run();
  await stream.send({ key: 'old', number: 1 });
  await until(() => seen === 1, 'the first one is seen');
  const table = `${stream.prefix(0)}:table:last`;
  await until(() => server.redis.zscore(`${table}:expiry`, 'old'), 'its time is kept');
  await until(async () => {
    await stream.send({ key: 'new', number: 2 });
    return (await server.redis.hexists(table, 'old')) === 0;
  }, 'it has left');
  assert.equal(await server.redis.hget(table, 'new'), '2');
  assert.equal(await server.redis.hget(`${stream.prefix(0)}:meta`, 'expires:last'), '1');
  assert.equal(await server.redis.hget(`${stream.prefix(0)}:table:kept`, 'old'), String(2n ** 60n));
  worker.stop();
  await running;
  assert.throws(() => app.on(stream, { name: 'other', tables: [{ name: 'last', expire: 1500 }] }, () => undefined), /whole seconds/);
  app.close();
});
