// Users that may not run everything: C10 of lua/clients.md.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import { App, ConfigError } from '../src/index.js';
import { type Server, startServer } from './server.js';

let server: Server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());
beforeEach(() => server.redis.flushall());

async function as(rules: string[]): Promise<{ app: App; work: () => Promise<void>; send: () => Promise<unknown> }> {
  await server.redis.call('ACL', 'SETUSER', 'limited', 'reset', 'on', '>secret', '&*', '+@all', '-@dangerous', '+info', ...rules);
  const app = new App('shop', { redisUrl: server.url.replace('//', '//limited:secret@'), log: () => undefined });
  const items = app.stream<{ key: string }>('items', { partitionBy: 'key', partitions: 2 });
  app.on(items, { name: 'p', tables: ['totals'] }, () => worker.stop());
  const worker = app.worker({ sessionTimeout: 900, rebalanceDelay: 0 });
  return { app, work: () => worker.run(), send: () => items.send({ key: 'a' }) };
}

for (const [rules, of, said] of [
  [['~*', '-xgroup|setid'], 'work', /run XGROUP SETID: ACL SETUSER NAME \+xgroup\|setid; runnel lua acl --app shop/],
  [['~*', '-hset', '-xread'], 'work', /run HSET, XREAD: /],
  [['~*', '-script|load'], 'work', /run SCRIPT LOAD: /],
  [['~runnel:{shop:items:*'], 'work', /use the keys runnel:\{shop:items@p\}:plan, .* ACL SETUSER NAME ~runnel:\{shop:\*/],
  [['~*', '-xadd'], 'send', /run XADD: /],
  [['~other:*'], 'send', /use the keys runnel:\{shop:items:0\}:items:/],
] as const) {
  test(`C10: a user with ${rules.join(' ')} may not ${of}, and nothing is written`, async () => {
    // A script that is loaded already needs no permission to load it.
    const { app, ...may } = await as([...rules]);
    await assert.rejects(may[of](), (error) => error instanceof ConfigError && said.test(error.message));
    assert.deepEqual(await server.redis.keys('*'), []);
    app.close();
  });
}

test('C10: the permissions that are asked for are enough', async () => {
  const { app, work, send } = await as(['~runnel:*']);
  await send();
  await work();
  app.close();
});
