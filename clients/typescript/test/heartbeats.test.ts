// A handler that keeps the event loop: W8 of lua/clients.md. What Redis has meanwhile is asked by another process.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import { App } from '../src/index.js';
import { type Server, startServer, until } from './server.js';

let server: Server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

const SESSION = 900;
/** A program that sends one command to the server at this port, and prints the value that comes back. */
const ASK = `const [port, command] = process.argv.slice(1);
const socket = require('net').connect(port, '127.0.0.1', () => socket.write(command + '\\r\\n'));
socket.once('data', (data) => { console.log(String(data).split('\\r\\n')[1]); socket.end(); });`;

/** A worker whose handler keeps the event loop for two and a half sessions. Returns what was left of its session then, in ms. */
async function blocked(name: string, maxBlock: number): Promise<{ left: number; said: string[] }> {
  const said: string[] = [];
  const app = new App(name, { redisUrl: server.url, log: (text) => said.push(text) });
  const items = app.stream<{ key: string }>('items', { partitionBy: 'key', partitions: 2 });
  const { port } = new URL(server.url);
  let left: number | undefined;
  app.on(items, { name: 'p' }, () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2.5 * SESSION);
    const ends = execFileSync(process.execPath, ['-e', ASK, port, `ZSCORE runnel:{${name}:items@p}:sessions w`], { encoding: 'utf8' });
    left = Number(ends) - Date.now();
  });
  await items.send({ key: 'a' });
  const worker = app.worker({ name: 'w', sessionTimeout: SESSION, rebalanceDelay: 0, maxBlock });
  const running = worker.run();
  const found = (await until(() => left, 'the handler'))!;
  worker.stop();
  await running;
  app.close();
  return { left: found, said };
}

test('W8: a thread sends the heartbeats while a handler keeps the event loop, and none after leave', async () => {
  const { left, said } = await blocked('long', 60_000);
  assert.ok(left > 0, `the session had ended ${-left} ms before`);
  assert.ok(said.some((each) => each.startsWith('a handler has kept the event loop for 2')), said.join('\n'));
  assert.equal(await server.redis.hexists('runnel:{long:items@p}:members', 'w'), 0);
});

test('W8: not for longer than maxBlock, and not without the thread', async () => {
  for (const [name, maxBlock] of [['short', 400], ['none', 0]] as const) {
    const { left } = await blocked(name, maxBlock);
    assert.ok(left < 0, `${name}: the session goes on for ${left} ms`);
  }
});
