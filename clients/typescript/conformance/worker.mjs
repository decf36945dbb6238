// The worker that `runnel conformance run` starts: see docs/conformance.md.
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { App } from 'runnel';

const { RUNNEL_CONFORMANCE_MEMBER: name, RUNNEL_SESSION_TIMEOUT: seconds } = process.env;
const app = new App('conformance');
const trials = app.stream('trials', { partitionBy: 'key', partitions: 4, size: 300 });

const failures = new Map();

app.on(trials, { name: 'kit' }, async (record, event) => {
  const { partition, id } = event;
  await sleep(record.work);
  if (record.block) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, record.block);
  failures.set(id, 1 + (failures.get(id) ?? 0));
  if (record.die || failures.get(id) <= record.fail) {
    writeSync(1, `${JSON.stringify({ partition, id, failed: true })}\n`);
    if (record.die) process.kill(process.pid, 'SIGKILL');
    throw new Error('as the record says');
  }
  console.log(JSON.stringify({ partition, id, record }));
});

const worker = app.worker({ name, sessionTimeout: 1000 * seconds });
process.once('SIGTERM', () => worker.stop());
await worker.run();
