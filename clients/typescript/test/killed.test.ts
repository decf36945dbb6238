// Workers are killed with SIGKILL while they work: nothing is lost, and totals count each event once.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { App } from '../src/index.js';
import { type Server, startServer, until } from './server.js';

const CHILD = fileURLToPath(new URL('child.js', import.meta.url));
const COUNT = 2000;
const KEYS = 9;

let server: Server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

test('five workers killed in a row: each event counts once in tables and in what is emitted', async () => {
  const app = new App('killed', { redisUrl: server.url, log: () => undefined });
  const items = app.stream<{ key: string; number: number }>('items', { partitionBy: 'key', partitions: 4 });
  const totals = app.stream<{ key: string; total: number }>('totals', { partitionBy: 'key', partitions: 3 });
  const got: { key: string; total: number }[] = [];
  app.on(totals, { name: 'collector' }, (record) => void got.push(record));
  const collector = app.worker({ processors: ['collector'], sessionTimeout: 1000, rebalanceDelay: 0 });
  const collecting = collector.run();
  const children = new Set<ChildProcess>();
  const start = (): void => {
    children.add(spawn(process.execPath, [CHILD], { env: { ...process.env, APP: 'killed', URL: server.url }, stdio: 'ignore' }));
  };
  const states = (): Promise<Record<string, string>[]> =>
    Promise.all([0, 1, 2, 3].map((n) => server.redis.hgetall(`runnel:{killed:items:${n}}:items:processor:sums`)));
  const processed = async (): Promise<number> => (await states()).reduce((sum, each) => sum + Number(each['processed'] ?? 0), 0);
  start();
  start();
  await items.sendMany(Array.from({ length: COUNT }, (_, number) => ({ key: `k${number % KEYS}`, number })));
  for (let kills = 1; kills <= 5; kills++) {
    await until(async () => (await processed()) >= kills * 250, `${kills * 250} are processed`);
    // The worker that owns most: its id has its process id.
    const owners = (await states()).map((each) => each['owner'] ?? '');
    const owner = [...children].find((each) => owners.some((name) => name.includes(`-${each.pid}-`)));
    assert.ok(owner, 'a child owns a partition');
    owner.kill('SIGKILL');
    children.delete(owner);
    start();
  }
  await until(async () => (await processed()) === COUNT, 'all are processed', 60);
  await until(() => got.length >= COUNT, 'all totals have arrived');
  for (const each of children) each.kill('SIGTERM');
  await until(() => [...children].every((each) => each.exitCode !== null), 'the workers end');
  assert.ok([...children].every((each) => each.exitCode === 0));
  collector.stop();
  await collecting;
  assert.equal(got.length, COUNT, 'no total was emitted twice');
  for (let k = 0; k < KEYS; k++) {
    const key = `k${k}`;
    let expected = 0;
    const all = got.filter((each) => each.key === key).map((each) => each.total);
    const sums: number[] = [];
    for (let number = k; number < COUNT; number += KEYS) sums.push((expected += number));
    assert.deepEqual(all, sums, 'each total, in order');
    const stored = await server.redis.hget(`runnel:{killed:items:${items.partitionOf({ key, number: 0 })}}:items:table:sum`, key);
    assert.equal(stored, String(expected));
  }
  app.close();
});

test('W26: a second SIGTERM ends a worker at once whose handler hangs', async () => {
  const app = new App('hanging', { redisUrl: server.url });
  const items = app.stream<{ key: string; number: number }>('items', { partitionBy: 'key', partitions: 4 });
  await items.send({ key: 'a', number: 1 });
  app.close();
  const child = spawn(process.execPath, [CHILD], { env: { ...process.env, APP: 'hanging', URL: server.url, NAME: 'stuck', HANGS: '1' }, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<NodeJS.Signals | null>((done) => child.once('exit', (_, signal) => done(signal)));
  await new Promise((done) => child.stdout.once('data', done)); // The handler has the event.
  child.kill('SIGTERM');
  await until(async () => (await server.redis.hget('runnel:{hanging:items@sums}:members', 'stuck'))?.includes(' retire '), 'it wants to leave');
  child.kill('SIGTERM');
  assert.equal(await ended, 'SIGTERM');
});
