// KEYS and ARGV of `transact` behind those of `commit`: the effects of a step, each in the form that its target needs.
import { addressOf, flat, type Sink, type Step } from './effects.js';
import { PartitionKeys } from './keys.js';
import type { Arg } from './link.js';
import type { Processor } from './processor.js';
import { HASH } from './routing.js';
import { PROTOCOL } from './scripts.js';

/** Entries that may wait in an outbox. */
const OUTBOX_SIZE = 10_000;

export interface More {
  readonly keys: string[];
  readonly args: Arg[];
}

/** The effects of a step. With `useOutbox`, what goes to streams in other slots waits in the outbox. */
export function effectsOf(step: Step, of: PartitionKeys, processor: Processor, useOutbox: boolean): More {
  const more: More = { keys: [], args: [] };
  tables(step, of, processor, more);
  const outbox: Uint8Array[][] = [];
  for (const { sink, entries } of step.sinks.values()) {
    if (useOutbox && !sink.derived) outbox.push(...entries.map((each) => [Buffer.from('to'), Buffer.from(addressOf(sink)), ...each]));
    else sinkEntries(sink, entries, more);
  }
  if (outbox.length > 0) add(more, [of.outbox], ['outbox', OUTBOX_SIZE, outbox.length, ...flat(outbox)]);
  if (step.parked.length > 0) {
    add(more, [of.parked, of.parkedKeys], ['park', processor.parkLimit, step.parked.length, ...flat(step.parked)]);
  }
  if (step.replayed.length > 0) {
    add(more, [of.parked, of.parkedKeys, of.replay], ['replayed', step.replayed.length, ...step.replayed]);
  }
  return more;
}

/** The sink of a step that has this log. */
export const sinkOf = (step: Step, log: string): Sink | undefined =>
  [...step.sinks.values()].find(({ sink }) => new PartitionKeys(sink.prefix).log === log)?.sink;

function tables(step: Step, of: PartitionKeys, processor: Processor, more: More): void {
  const byTable = new Map<string, { sets: Arg[]; deletes: Arg[] }>();
  for (const { table, field, value } of step.writes.values()) {
    let found = byTable.get(table);
    if (found === undefined) byTable.set(table, (found = { sets: [], deletes: [] }));
    if (value === null) found.deletes.push(field);
    else found.sets.push(field, value);
  }
  for (const [table, { sets, deletes }] of byTable) {
    const expire = processor.tables.get(table)?.expire;
    const name = of.table(table);
    const counts = [sets.length / 2, deletes.length];
    if (expire === undefined) add(more, [name], ['table', ...counts, ...sets, ...deletes]);
    else add(more, [name, `${name}:expiry`], ['expiring', expire / 1000, ...counts, ...sets, ...deletes]);
  }
}

function sinkEntries(sink: Sink, entries: Uint8Array[][], more: More): void {
  const { log, meta } = new PartitionKeys(sink.prefix);
  const contract = sink.derived ? [] : [PROTOCOL, sink.partitions, HASH];
  add(more, [log, meta], [sink.derived ? 'derived' : 'stream', sink.size, 'refuse', entries.length, ...contract, ...flat(entries)]);
}

function add(more: More, keys: string[], args: Arg[]): void {
  more.keys.push(...keys);
  for (const each of args) more.args.push(each);
}
