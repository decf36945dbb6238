// What a worker writes of a stream for people: W28 of lua/clients.md.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import { App } from '../src/index.js';
import { type Server, startServer } from './server.js';

const STREAMS = 'runnel:{shop}:streams';
let server: Server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());
beforeEach(() => server.redis.flushall());

/** Start a worker, let it process one event, and end it. Returns what it has logged. */
async function work(redisUrl = server.url): Promise<string[]> {
  const said: string[] = [];
  const app = new App('shop', { redisUrl, log: (text) => said.push(text) });
  const items = app.stream<{ key: string }>('items', { partitionBy: 'key', partitions: 2, size: 300 });
  app.on(items, { name: 'p', policy: 'ignore', deadLetters: true }, () => worker.stop());
  const worker = app.worker({ sessionTimeout: 900, rebalanceDelay: 0 });
  await items.send({ key: 'a' });
  await worker.run();
  app.close();
  return said;
}

for (const [stored, becomes] of [
  [undefined, '2 items 300 0 always'],
  ['2 items 70 60000 until_full', '2 items 300 60000 until_full'],
  ['2 items', '2 items 300 0 always'],
  ['4 items 300 60000 until_full', '2 items 300 0 always'],
] as const) {
  test(`W28: the entry ${stored ?? 'of a new stream'} becomes ${becomes}`, async () => {
    if (stored !== undefined) await server.redis.hset(STREAMS, 'items', stored);
    assert.deepEqual(await work(), []);
    assert.deepEqual(await server.redis.hgetall(STREAMS), { items: becomes, 'items.p.dead': '2 items 300 0 always' });
  });
}

test('W28: a worker that may not write there says so, and works', async () => {
  await server.redis.call('ACL', 'SETUSER', 'limited', 'reset', 'on', '>secret', '&*', '+@all', '~runnel:{shop:*', '~runnel:{shop}:processors');
  const said = await work(server.url.replace('//', '//limited:secret@'));
  assert.match(said.join(), /^processor p: runnel inspect may not find it without code, because Redis took no entry: NOPERM/);
  assert.deepEqual(await server.redis.hgetall('runnel:{shop}:processors'), { 'items@p': '2' });
});
