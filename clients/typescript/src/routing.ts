// Keys to partitions: the same bytes, hash and partition as in every other client.
import xxhash from 'xxhash-wasm';

import { EncodeError } from './errors.js';

/** What a partition key may be. A UUID is its text in lower case. */
export type Key = string | number | bigint | Uint8Array;

/** The name of the hash in the contract of a stream. */
export const HASH = 'xxh64';

const { h64Raw } = await xxhash();
const encoder = new TextEncoder();

/** The bytes of a key. Throws EncodeError for a value whose text is not the same in all languages. */
export function keyBytes(key: Key): Uint8Array {
  if (typeof key === 'string') {
    if (!key.isWellFormed()) throw new EncodeError('the partition key is not valid text: it has half a surrogate pair');
    return encoder.encode(key);
  }
  if (typeof key === 'bigint' || Number.isSafeInteger(key)) return encoder.encode(String(Object.is(key, -0) ? 0 : key));
  if (key instanceof Uint8Array) return key;
  const kind = key === null ? 'null' : typeof key;
  throw new EncodeError(
    `a value of type ${kind} (${String(key)}) cannot be a partition key: use text, an integer (a bigint above 2^53), or bytes`,
  );
}

/** The hash of the bytes of a key. */
export const hashOf = (bytes: Uint8Array): bigint => h64Raw(bytes);

/** The partition of a key. */
export const partitionOf = (key: Key, partitions: number): number => Number(hashOf(keyBytes(key)) % BigInt(partitions));
