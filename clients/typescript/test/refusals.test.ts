// Redis refuses for good what a client wants: it ends with an error that says what.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { App, ConfigError } from '../src/index.js';
import { type Server, startServer } from './server.js';

let server: Server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

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
