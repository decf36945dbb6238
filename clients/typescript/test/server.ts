// A Redis server of its own for each test file, and what tests ask of it.
import { Redis } from 'ioredis';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Server {
  readonly url: string;
  readonly redis: Redis;
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

export async function startServer(): Promise<Server> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'runnel-ts-'));
  const program = process.env['REDIS_SERVER'] ?? 'redis-server';
  const child = spawn(program, ['--port', String(port), '--save', '', '--dir', folder, '--bind', '127.0.0.1'], { stdio: 'ignore' });
  const url = `redis://127.0.0.1:${port}`;
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on('error', () => undefined);
  await redis.ping();
  return {
    url,
    redis,
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
