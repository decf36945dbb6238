// C6: ids are two integers of up to 64 bits, and are not numbers of JavaScript.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { idsFrom, isAfter } from '../src/ids.js';

test('ids are compared as integers of any length', () => {
  assert.ok(isAfter('10-0', '9-18446744073709551615'));
  assert.ok(isAfter('1795546487633-9007199254740993', '1795546487633-9007199254740992'));
  assert.ok(!isAfter('5-5', '5-5'));
  assert.ok(isAfter('18446744073709551615-1', '9999999999999999999-2'));
});

test('the ids of one append rise by one, into the next millisecond after the last number', () => {
  assert.deepEqual(idsFrom('7-18446744073709551614', 3), ['7-18446744073709551614', '7-18446744073709551615', '8-0']);
});
