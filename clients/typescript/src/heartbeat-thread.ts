// The thread of `heartbeats.ts`. It sends a `sync` for a member whose session is half over, while the event loop has no turn.
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';

import { Refused } from './errors.js';
import { ENDS, type FromThread, NUMBER, raise, SESSION, sharedNow, type ThreadData, type ToThread } from './heartbeats.js';
import { type Arg, asNumber, Link, now, type Reply } from './link.js';

const { url, timeout, maxBlock, check, alive } = workerData as ThreadData;
const port = parentPort!;
const link = new Link({ url, timeout });

interface Member {
  readonly id: number;
  readonly keys: readonly string[];
  readonly shared: BigInt64Array;
  args?: Arg[];
  busy?: Promise<void>;
}

/** Where the number and the partitions that are held stand in the arguments of `sync`. */
const [CALL, HELD] = [6, 9];
const members = new Map<number, Member>();
let said = false;

port.on('message', (message: ToThread) => {
  const { id } = message;
  const member = members.get(id);
  if (message.kind === 'member') members.set(id, { id, keys: message.keys, shared: message.shared });
  else if (message.kind === 'report' && member !== undefined) member.args = message.args;
  else if (message.kind === 'end') {
    members.delete(id);
    void (member?.busy ?? Promise.resolve()).then(() => tell('ended', id));
  }
});

setInterval(() => {
  const blocked = sharedNow() - Number(Atomics.load(alive, 0));
  if (blocked > maxBlock) {
    // A log of the worker would be written by the loop that is blocked.
    if (!said) writeSync(2, `runnel: the event loop has been blocked for ${Math.round(blocked / 1000)} s: the partitions of this worker go to others\n`);
    said = true;
    return;
  }
  said = false;
  for (const member of members.values()) {
    const session = Number(Atomics.load(member.shared, SESSION));
    const isDue = sharedNow() > Number(Atomics.load(member.shared, ENDS)) - session / 2;
    if (blocked < session / 8 || !isDue || member.args === undefined || member.busy !== undefined) continue;
    member.busy = beat(member, member.args, session).finally(() => delete member.busy);
  }
}, check);

async function beat({ id, keys, shared }: Member, report: Arg[], session: number): Promise<void> {
  const number = Number(Atomics.add(shared, NUMBER, 1n)) + 1;
  const args = report.with(CALL, number);
  const sent = sharedNow();
  try {
    const reply = await link.call('sync', keys, args, { until: now() + timeout, onlyIfNotRun: true });
    if (asNumber(reply[0]) === number && keepsAll(reply, args)) raise(shared, ENDS, sent + session);
    tell('beat', id);
  } catch (error) {
    if (error instanceof Refused) members.delete(id); // The worker will hear it, too.
  }
}

/** Does the group still grant all that is held? If not, the session is of no use before the worker has heard it. */
function keepsAll(reply: Reply, args: Arg[]): boolean {
  const granted = new Map<number, number>();
  for (let i = 4; i + 2 < reply.length; i += 3) if (asNumber(reply[i + 2]) === 1) granted.set(asNumber(reply[i]), asNumber(reply[i + 1]));
  const held = args.slice(HELD + 1, HELD + 1 + 2 * Number(args[HELD])).map(Number);
  for (let i = 0; i < held.length; i += 2) if (granted.get(held[i]!) !== held[i + 1]) return false;
  return true;
}

const tell = (kind: FromThread['kind'], id: number): void => port.postMessage({ kind, id } satisfies FromThread);
tell('ready', -1);
