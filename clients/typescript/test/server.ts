// A Redis server of its own for each test file, and what tests ask of it.
import { Redis } from 'ioredis';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Server {
  readonly url: string;
  readonly redis: Redis;
  /** End it with SIGKILL, and start it again on its data. */
  restart(): Promise<void>;
  stop(): void;
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}

export async function startServer(options: Record<string, string> = {}): Promise<Server> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'runnel-ts-'));
  const program = process.env['REDIS_SERVER'] ?? 'redis-server';
  const more = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const start = (): ChildProcess => spawn(program, ['--port', String(port), '--save', '', '--dir', folder, '--bind', '127.0.0.1', ...more], { stdio: 'ignore' });
  let child = start();
  const url = `redis://127.0.0.1:${port}`;
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on('error', () => undefined);
  await redis.ping();
  return {
    url,
    redis,
    restart: async () => {
      const ended = new Promise((done) => child.once('exit', done));
      child.kill('SIGKILL');
      await ended;
      child = start();
      await redis.ping();
    },
    stop: () => {
      redis.disconnect();
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Wait until `ask` returns something true. */
export async function until<T>(ask: () => T | Promise<T>, what: string, seconds = 30): Promise<T> {
  for (const end = performance.now() + seconds * 1000; ; await sleep(10)) {
    const found = await ask();
    if (found) return found;
    if (performance.now() > end) throw new Error(`after ${seconds} s, not yet: ${what}`);
  }
}
