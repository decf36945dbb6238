// Takes the lease on a partition, accepts what was lost, and registers again where keys were lost.
import { refusedWith, Refused } from './errors.js';
import { PartitionKeys } from './keys.js';
import { asNumber, asText, type Link, type Reply } from './link.js';
import type { Processor } from './processor.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';
import { Suspicion } from './suspicion.js';
import type { Tenure } from './tenure.js';

/** What a claim says besides what the tenure keeps. */
export interface Claimed {
  /** Entries that wait in the outbox. */
  readonly outbox: number;
  readonly parked: number;
  /** Keys whose parked events are to be replayed. */
  readonly replay: number;
}

/** Claim the partition, or claim it again under the same token because events may be lost.
 *
 * Throws Refused if the lease is not to be had. */
export async function claim(tenure: Tenure): Promise<Claimed> {
  const { owner, keys, grant, nonce } = tenure;
  const { stream, name } = owner.processor;
  for (let accept = ''; ; ) {
    let reply: Reply;
    try {
      const args = [PROTOCOL, stream.partitions, HASH, name, owner.member, grant, nonce, accept];
      reply = await owner.link.call('claim', keys.ofScript, args);
    } catch (error) {
      const keysAreGone = refusedWith(error, 'MISSING') || (refusedWith(error, 'UNREGISTERED') && error.details['removed'] !== '1');
      if (!keysAreGone) throw error;
      tenure.log(`: its keys were lost (${error.message}): registered again`);
      await register(owner.link, owner.processor, tenure.partition);
      continue;
    }
    const lost = asNumber(reply[8]);
    if (lost < 0) return take(tenure, reply);
    tenure.log(`: LOST ${asNumber(reply[9]) ? '' : 'at least '}${lost} events after ${asText(reply[1])}`);
    accept = String(lost);
  }
}

function take(tenure: Tenure, reply: Reply): Claimed {
  const [epoch, checkpoint, , attempts, event, tenures, paused, quarantined, , , exists, nextId, deaths, , outbox, parked, replay] = reply;
  if (tenure.epoch !== '' && tenure.epoch !== asText(epoch)) throw new Refused(`FENCED epoch=${asText(epoch)}`);
  const isFirst = tenure.epoch === '';
  tenure.epoch = asText(epoch);
  tenure.checkpoint = asText(checkpoint);
  // Who is careful stays so for the rest of the lease: by now the server has seen progress, and does not tell again.
  if (isFirst) tenure.suspicion = new Suspicion(asText(event), asNumber(attempts), asNumber(deaths), asNumber(tenures));
  tenure.stopped = asNumber(paused) === 1 || asNumber(quarantined) === 1;
  tenure.intake.restart(tenure.checkpoint, asNumber(exists) === 1, asText(nextId));
  return { outbox: asNumber(outbox), parked: asNumber(parked), replay: asNumber(replay) };
}

/** Register a processor on a partition: at the start of a worker, or where its keys were lost. Returns 2 if they were. */
export async function register(link: Link, processor: Processor, partition: number): Promise<number> {
  const { stream, name, options } = processor;
  const contract = [PROTOCOL, stream.partitions, HASH];
  if (partition > 0) await link.call('declare', [new PartitionKeys(stream.prefix(0)).meta], contract);
  const keys = new PartitionKeys(stream.prefix(partition), name).ofScript;
  const [created] = await link.call('register', keys, [...contract, name, options.start === 'latest' ? '$' : '0']);
  return asNumber(created);
}
