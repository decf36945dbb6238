// The producer that `runnel conformance run` starts: see docs/conformance.md.
import { createInterface } from 'node:readline';
import { App } from 'runnel';

const app = new App('conformance', { whenFull: 'wait' });
const trials = app.stream('trials', { partitionBy: 'key', partitions: 4, size: 300 });
const inFlight = new Set();

for await (const line of createInterface({ input: process.stdin })) {
  const record = JSON.parse(line);
  const { key, number } = record;
  const sending = trials.send(record).then(
    (id) => console.log(JSON.stringify({ key, number, id })),
    (error) => console.log(JSON.stringify({ key, number, error: String(error) })),
  );
  inFlight.add(sending);
  void sending.finally(() => inFlight.delete(sending));
}
await Promise.all(inFlight);
app.close();
