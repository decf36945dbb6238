// What is told of failures that last, and when they end a worker: "Errors of Redis itself" of lua/clients.md.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DeliveryTimeout } from '../src/errors.js';
import { Trouble } from '../src/trouble.js';

const reply = (text: string): Error => Object.assign(new Error(text), { name: 'ReplyError' });

/** Fail in the same way for so many seconds. Returns the seconds at which it was told, and that at which it ended. */
function last(error: unknown, seconds: number): { told: number[]; ended?: number } {
  const told: number[] = [];
  let at = 0;
  const trouble = new Trouble(() => told.push(at));
  for (; at <= seconds; at++) {
    if (trouble.failed('it', error, 1e6 + at * 1000) !== undefined) return { told, ended: at };
  }
  return { told };
}

for (const [what, error, expected] of [
  ['a permission that is missing', reply('NOPERM no permissions'), { told: [0, 10, 30, 70, 150, 310, 630] }],
  ['a permission that a script lacks', reply('ERR ACL failure in script'), { told: [0, 10, 30, 70, 150, 310, 630] }],
  ['a key of a wrong type', reply('WRONGTYPE Operation'), { told: [0, 10, 30, 70, 150, 310, 630] }],
  ['a server without room', reply('OOM command not allowed'), { told: [1, 11, 31, 71, 151, 311, 631] }],
  ['a server that does not answer', new DeliveryTimeout('no answer'), { told: [1, 11, 31, 71, 151, 311, 631] }],
  ['an answer that nobody knows', reply('ERR user_script:12: bad'), { told: [0, 10, 30], ended: 60 }],
  ['such an answer behind a time limit', new DeliveryTimeout('no answer', { cause: reply('STRANGE') }), { told: [0, 10, 30], ended: 60 }],
] as const) {
  test(`${what} is told when it begins, and then less and less often`, () => {
    assert.deepEqual(last(error, 700), expected);
  });
}

test('what was over begins anew', () => {
  const told: string[] = [];
  const trouble = new Trouble((text) => told.push(text));
  trouble.failed('it', reply('ERR bad'), 0);
  trouble.failed('it', reply('ERR bad'), 14_000);
  trouble.over();
  assert.equal(trouble.failed('it', reply('ERR bad'), 61_000), undefined);
  assert.equal(trouble.failed('it', reply('ERR bad'), 130_000), undefined, 'it was quiet for long');
  assert.deepEqual(told, ['it fails, and is tried again: ERR bad', 'it fails, for 14 s now, and is tried again: ERR bad', ...Array(2).fill('it fails, and is tried again: ERR bad')]);
});
