// Entries and what they say: msgpack or JSON, compressed or not, and records as text fields.
import { Decoder, Encoder } from '@msgpack/msgpack';
import lz4 from 'lz4js';
import { parse as parseExactly, stringify as stringifyExactly } from 'lossless-json';
import { isUtf8 } from 'node:buffer';
import { gunzipSync } from 'node:zlib';

import { DecodeError, EncodeError } from './errors.js';

/** Fields and values of a stream entry in turn. */
export type Entry = Uint8Array[];
/** Text beside the payload, such as a trace id. */
export type Headers = Readonly<Record<string, string>>;

/** The largest payload that is decompressed: a few kilobytes must not fill the memory of a worker. */
const MOST_DECOMPRESSED = 64 * 1024 * 1024;
/** To make one for each record costs more than to use it. */
const packer = new Encoder({ useBigInt64: true });
const unpacker = new Decoder({ useBigInt64: true });
const strict = new TextDecoder('utf-8', { fatal: true });
const text = new TextEncoder();

/** The entry of a record. Throws EncodeError, which names the field, for what has no form there. */
export function encodeEntry(record: unknown, headers?: Headers): Entry {
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    throw new EncodeError('a record is an object: its fields are the fields of the event');
  }
  const entry: Entry = [text.encode('msgpack'), packer.encode(plain(record, ''))];
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (typeof value !== 'string') throw new EncodeError(`header ${name} must be text`);
    entry.push(text.encode(`@${name}`), text.encode(value));
  }
  return entry;
}

/** The values of an entry. Throws DecodeError if the entry does not say how to read it, or is not as it says. */
export function decodeEntry(entry: readonly Uint8Array[]): Record<string, unknown> {
  if (entry.length === 0 || entry.length % 2 !== 0) throw new DecodeError('the entry is empty or ends in half a field');
  const tag = Buffer.from(entry[0]!).toString();
  const payload = entry[1]!;
  if (tag === 'fields') return textFields(entry);
  const [serializer, compressor] = tag.split('+', 2);
  try {
    const data = decompressed(payload, tag.includes('+') ? compressor : undefined);
    if (serializer === 'msgpack') return asRecord(fromMsgpack(data));
    if (serializer === 'json') return asRecord(parseJson(data));
  } catch (error) {
    if (error instanceof DecodeError) throw error;
    throw new DecodeError(`the payload is not valid ${tag}: ${(error as Error).message}`, { cause: error });
  }
  throw new DecodeError(`the entry starts with the field ${JSON.stringify(tag.slice(0, 80))}, which names no serializer known here`);
}

/** The headers of an entry. */
export function headersOf(entry: readonly Uint8Array[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (let i = 2; i + 1 < entry.length; i += 2) {
    const name = Buffer.from(entry[i]!).toString();
    if (name.startsWith('@')) put(found, name.slice(1), Buffer.from(entry[i + 1]!).toString());
  }
  return found;
}

function plain(value: unknown, where: string): unknown {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) throw new EncodeError(`${where || 'the record'} is not valid text`);
      return value;
    case 'boolean':
      return value;
    case 'bigint':
      if (value < -(2n ** 63n) || value >= 2n ** 64n) throw new EncodeError(`${where}: msgpack holds integers of up to 64 bits: use text`);
      return value;
    case 'number':
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        throw new EncodeError(`${where}: ${value} is no exact integer: use a bigint`);
      }
      // The library writes larger ones as floating-point numbers.
      return Number.isInteger(value) && (value > 0xffffffff || value < -0x80000000) ? BigInt(value) : value;
    case 'object':
      break;
    default:
      throw new EncodeError(`${where || 'the record'}: a ${typeof value} has no form that all languages read`);
  }
  if (value === null || value instanceof Uint8Array) return value;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new EncodeError(`${where} is an invalid Date`);
    return value.toISOString();
  }
  if (Array.isArray(value)) return value.map((each, i) => plain(each, `${where}[${i}]`));
  if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    throw new EncodeError(`${where || 'the record'}: a ${value.constructor.name} has no form that all languages read`);
  }
  const made: Record<string, unknown> = {};
  for (const [name, each] of Object.entries(value)) {
    const at = where ? `${where}.${name}` : name;
    // As a property it would set the prototype, so the field would be gone; readers of msgpack refuse it for that.
    if (name === '__proto__') throw new EncodeError(`${at}: a field with this name is not read everywhere: use another name`);
    if (each !== undefined) made[name] = plain(each, at);
  }
  return made;
}

function decompressed(data: Uint8Array, compressor: string | undefined): Uint8Array {
  if (compressor === undefined) return data;
  if (compressor === 'gzip') return gunzipSync(data, { maxOutputLength: MOST_DECOMPRESSED });
  if (compressor === 'lz4') {
    checkFrame(data);
    return lz4.decompress(data, MOST_DECOMPRESSED);
  }
  throw new DecodeError(`the compressor ${JSON.stringify(compressor)} is not known here`);
}

/** Throws DecodeError unless `data` is exactly one LZ4 frame: the library reads a frame that is cut off as a shorter one. */
function checkFrame(data: Uint8Array): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const bad = (why: string): never => {
    throw new DecodeError(`the payload is not valid lz4: ${why}`);
  };
  if (data.length < 7 || view.getUint32(0, true) !== 0x184d2204) bad('it is no frame');
  const flags = data[4]!;
  let at = 6 + (flags & 8 ? 8 : 0) + (flags & 1 ? 4 : 0) + 1;
  let total = 0;
  for (;;) {
    if (at + 4 > data.length) bad('it is cut off');
    const size = view.getUint32(at, true);
    at += 4;
    if (size === 0) break;
    total += size & 0x7fffffff;
    at += (size & 0x7fffffff) + (flags & 16 ? 4 : 0);
    if (total > MOST_DECOMPRESSED) bad(`it is larger than ${MOST_DECOMPRESSED} bytes`);
  }
  at += flags & 4 ? 4 : 0;
  if (at !== data.length) bad(at > data.length ? 'it is cut off' : 'it has bytes behind its end');
}

function fromMsgpack(data: Uint8Array): unknown {
  const value = withNumbers(unpacker.decode(data));
  checkTexts(data);
  return value;
}

/** Integers that a number holds exactly become numbers. */
function withNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  if (Array.isArray(value)) return value.map(withNumbers);
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    const record = value as Record<string, unknown>;
    for (const name in record) {
      const each = record[name];
      if (typeof each === 'bigint' || typeof each === 'object') record[name] = withNumbers(each);
    }
  }
  return value;
}

/** Throws DecodeError if a text is not UTF-8: the library reads such bytes as other characters. `data` is valid msgpack. */
function checkTexts(data: Uint8Array): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.length; ) {
    const kind = data[at++]!;
    let size = 0;
    let isText = false;
    if (kind >= 0xa0 && kind <= 0xbf) [size, isText] = [kind & 0x1f, true];
    else if (kind === 0xc4 || kind === 0xd9) [size, isText, at] = [data[at]!, kind === 0xd9, at + 1];
    else if (kind === 0xc5 || kind === 0xda) [size, isText, at] = [view.getUint16(at), kind === 0xda, at + 2];
    else if (kind === 0xc6 || kind === 0xdb) [size, isText, at] = [view.getUint32(at), kind === 0xdb, at + 4];
    else if (kind >= 0xc7 && kind <= 0xc9 || kind >= 0xd4 && kind <= 0xd8) throw new DecodeError('the payload has a msgpack extension type');
    else if (kind >= 0xca && kind <= 0xdf) size = FIXED_SIZES[kind - 0xca]!;
    if (isText && !isAscii(data, at, at + size) && !isUtf8(data.subarray(at, at + size))) throw new DecodeError('the payload is not valid msgpack: a text is not UTF-8');
    at += size;
  }
}

/** Most texts are: then nothing else has to look at them. */
function isAscii(data: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (data[i]! > 0x7f) return false;
  return true;
}

/** Bytes behind the first one, of the types 0xca to 0xdf that are numbers, or sizes of arrays and maps. */
const FIXED_SIZES = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 2, 4];

/** Numbers of more digits than a floating-point number holds, or that may be too large for one. */
const LONG_NUMBER = /\d{16}|\d[eE]\+?\d{3}/;

/** The value of a JSON text. Integers that a number does not hold exactly are bigints. */
export function parseJson(data: Uint8Array): unknown {
  const written = strict.decode(data);
  if (!LONG_NUMBER.test(written)) return JSON.parse(written);
  return parseExactly(written, undefined, (digits) => {
    const number = Number(digits);
    if (!Number.isFinite(number)) throw new DecodeError('the payload is not valid json: a number is too large');
    return /^-?\d+$/.test(digits) && !Number.isSafeInteger(number) ? BigInt(digits) : number;
  });
}

/** The JSON text of a value; undefined if it has none. */
export function stringifyJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return stringifyExactly(value); // It has a bigint, or goes round in a circle, which is an error there, too.
  }
}

function textFields(entry: readonly Uint8Array[]): Record<string, unknown> {
  const form = Buffer.from(entry[1]!).toString();
  if (form !== '1') throw new DecodeError(`the entry has form ${JSON.stringify(form)} of primitive records, and only form 1 is known here`);
  const found: Record<string, unknown> = {};
  for (let i = 2; i < entry.length; i += 2) {
    const name = Buffer.from(entry[i]!).toString();
    if (name.startsWith('@')) continue;
    try {
      put(found, name, strict.decode(entry[i + 1]!));
    } catch {
      throw new DecodeError(`the field ${name} is not UTF-8`);
    }
  }
  return found;
}

/** Set a field, also one with the name `__proto__`, which an assignment would take for the prototype. */
function put(found: Record<string, unknown>, name: string, value: string): void {
  Object.defineProperty(found, name, { value, enumerable: true, configurable: true, writable: true });
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw new DecodeError('the payload is not a map of fields');
  }
  return value as Record<string, unknown>;
}
