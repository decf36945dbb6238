// Names of fields that mean something in JavaScript.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeEntry, encodeEntry, headersOf } from '../src/codec.js';
import { EncodeError } from '../src/index.js';

const bytes = (...texts: string[]): Buffer[] => texts.map((each) => Buffer.from(each));
/** As a program gets it from others: the property is the record's own. */
const from = (json: string): unknown => JSON.parse(json);

test('a field that objects take for their prototype is refused by name, and not dropped', () => {
  for (const [record, where] of [
    [from('{"a": 1, "__proto__": {"x": 1}}'), '__proto__'],
    [from('{"a": [{"__proto__": 1}]}'), 'a[0].__proto__'],
  ] as const) {
    assert.throws(() => encodeEntry(record), (error: Error) => error instanceof EncodeError && error.message.startsWith(`${where}: a field with this name`));
  }
});

test('such a field of other clients is read, and so is such a header', () => {
  const fields = decodeEntry(bytes('fields', '1', '__proto__', 'text', 'a', 'b'));
  const json = decodeEntry(bytes('json', '{"__proto__": "text", "a": "b"}'));
  for (const record of [fields, json]) assert.deepEqual(Object.entries(record), [['__proto__', 'text'], ['a', 'b']]);
  assert.deepEqual(Object.entries(headersOf(bytes('json', '{}', '@__proto__', 'text'))), [['__proto__', 'text']]);
});

test('other names of properties of objects are kept', () => {
  const record = { constructor: 1, toString: 2, hasOwnProperty: 3, prototype: 4 };
  assert.deepEqual(decodeEntry(encodeEntry(record) as Buffer[]), record);
});
