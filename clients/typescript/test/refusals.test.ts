// Redis refuses for good what a client wants: it ends with an error that says what.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test, type TestContext } from 'node:test';

import { App, ConfigError } from '../src/index.js';
import { type Server, startServer, until } from './server.js';

let server: Server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());
beforeEach(() => server.redis.flushall());

function fresh(redisUrl: string) {
  const app = new App('shop', { redisUrl, log: () => undefined });
  const items = app.stream<{ key: string }>('items', { partitionBy: 'key', partitions: 2 });
  app.on(items, { name: 'p' }, () => worker.stop());
  const worker = app.worker({ sessionTimeout: 900, rebalanceDelay: 0 });
  return { app, items, worker };
}

test('a database that the server does not have is an error, and nothing is written to another one', async () => {
  const { app, items, worker } = fresh(`${server.url}/99`);
  const refused = (error: unknown): boolean => error instanceof ConfigError && /database 99, which cannot be used: ERR DB index is out of range/.test(error.message);
  await assert.rejects(items.send({ key: 'a' }), refused);
  await assert.rejects(worker.run(), refused);
  assert.deepEqual(await server.redis.keys('*'), []);
  app.close();
});

test('a database that the user may not choose is an error, too', async () => {
  await server.redis.call('ACL', 'SETUSER', 'limited', 'reset', 'on', '>secret', '&*', '~*', '+@all', '-select');
  const { app, items } = fresh(`${server.url.replace('//', '//limited:secret@')}/3`);
  await assert.rejects(items.send({ key: 'a' }), (error: Error) => error instanceof ConfigError && /database 3, which cannot be used: NOPERM/.test(error.message));
  app.close();
});

test('a database of the URL is the one that is used', async () => {
  const { app, items, worker } = fresh(`${server.url}/3`);
  await items.send({ key: 'a' });
  await worker.run();
  assert.deepEqual(await server.redis.keys('*'), []);
  app.close();
});

const PLAN = 'runnel:{shop:items@p}:plan';
const STATE = (partition: number): string => `runnel:{shop:items:${partition}}:items:processor:p`;
const limit = (...rules: string[]): Promise<unknown> => server.redis.call('ACL', 'SETUSER', 'limited', ...rules);

/** A worker of a user whose permissions the test changes, after its first event was committed. */
async function started(t: TestContext) {
  await limit('reset', 'on', '>secret', '&*', '~*', '+@all');
  const said: string[] = [];
  const app = new App('shop', { redisUrl: server.url.replace('//', '//limited:secret@'), log: (text) => said.push(text) });
  const items = app.stream<{ key: string }>('items', { partitionBy: 'key', partitions: 2 });
  const seen: string[] = [];
  app.on(items, { name: 'p', tables: ['t'] }, async ({ key }, event) => {
    seen.push(key);
    if (key !== 'fills') return;
    event.table('t').set(key, 1);
    await server.redis.config('SET', 'maxmemory', '1');
  });
  const worker = app.worker({ sessionTimeout: 600, rebalanceDelay: 0, shutdownTimeout: 3000 });
  const running = worker.run();
  t.after(async () => {
    worker.stop();
    await running.catch(() => undefined);
    app.close();
  });
  running.catch((error: Error) => said.push(`ended: ${error.message}`));
  await items.send({ key: 'first' });
  const first = STATE(items.partitionOf({ key: 'first' }));
  await until(async () => (await server.redis.hget(first, 'processed')) === '1', 'the first event is committed');
  return {
    items, seen, running,
    told: (what: RegExp) =>
      until(() => said.find((each) => what.test(each)), `it is told: ${String(what)}`, 15).catch((error: Error) => assert.fail(`${error.message}; ${said.join('; ')}`)),
    /** It works on, and ends without an error. */
    worksOn: async (key: string) => {
      await items.send({ key });
      await until(() => seen.includes(key), 'it works on', 15);
      worker.stop();
      await running;
    },
  };
}

test('a worker whose login is refused after its start ends with an error', async (t) => {
  const { running } = await started(t);
  await limit('resetpass', '>other');
  await server.redis.client('KILL', 'USER', 'limited');
  await assert.rejects(running, (error: Error) => error instanceof ConfigError && /refuses the login of redisUrl: WRONGPASS/.test(error.message));
});

test('a permission that heartbeats lack is told, and the worker goes on when it has it again', async (t) => {
  const { told, worksOn } = await started(t);
  await limit('-zadd');
  await told(/^processor p: its heartbeat fails, and is tried again: .*the user lacks a permission: runnel lua acl /);
  await limit('+zadd');
  await worksOn('later');
});

test('keys of a group that another program has written are named, and the worker goes on without that', async (t) => {
  const { told, worksOn } = await started(t);
  await server.redis.set(PLAN, 'of another program');
  await told(/^processor p: its heartbeat fails, and is tried again: WRONGTYPE .* look at runnel:\{shop:items@p\}:plan, /);
  await server.redis.del(PLAN);
  await worksOn('later');
});

test('a partition whose keys another program has written loses its lease, the others go on', async (t) => {
  const { items, seen, told, worksOn } = await started(t);
  const [one, other] = ['a', 'b', 'c', 'd', 'e', 'f'].map((key) => ({ key, partition: items.partitionOf({ key }) })).reduce<{ key: string; partition: number }[]>((found, each) => (found.some(({ partition }) => partition === each.partition) ? found : [...found, each]), []);
  await server.redis.set(STATE(one!.partition), 'of another program');
  await items.send({ key: one!.key });
  await told(new RegExp(`^processor p, partition ${one!.partition}: its lease fails, and is tried again: WRONGTYPE .*${STATE(one!.partition).replace(/[{}]/g, '\\$&')}`));
  await items.send({ key: other!.key });
  await until(() => seen.includes(other!.key), 'the other partition goes on');
  await server.redis.del(STATE(one!.partition));
  await until(async () => Number(await server.redis.hget(STATE(one!.partition), 'processed')) > 0, 'it is processed after all');
  await worksOn('later');
});

test('a commit that Redis has no room for is told, and made when there is room', async (t) => {
  const { items, told, worksOn } = await started(t);
  await items.send({ key: 'fills' });
  await told(/^the call of transact fails, for \d s now, and is tried again: OOM /).finally(() => server.redis.config('SET', 'maxmemory', '0'));
  await until(async () => (await server.redis.hget(`runnel:{shop:items:${items.partitionOf({ key: 'fills' })}}:items:table:t`, 'fills')) === '1', 'it is committed');
  await worksOn('later');
});
