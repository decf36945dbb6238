// What a member says and does about the replies of sync: the numbers in the names are those of lua/clients.md.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Membership, type Numbers } from '../src/membership.js';

const TIMES = { session: 9000, rebalance: 30_000, delay: 0 };
class Counter implements Numbers {
  last = 0;
  next(): number {
    return ++this.last;
  }
  raise(to: number): void {
    this.last = Math.max(this.last, to);
  }
}

const MEMBER = { id: 'm', incarnation: 'i', description: 'host 1 typescript 20' };
const joined = (): Membership => new Membership(4, TIMES, MEMBER, new Counter());

/** One call and its reply: of each partition its number, grant, and whether to hold it. */
function sync(of: Membership, grants: [number, number, 0 | 1][], at = 0) {
  const call = of.next('stay', at);
  return { call, ...of.replied(call, [call.number, 1, TIMES.session, -1, ...grants.flat()]) };
}

/** What a call reports: held pairs, then released triples. */
function reports(of: Membership): { held: number[]; released: number[] } {
  const { args } = of.next('stay', 0);
  const held = 2 * Number(args[9]);
  return { held: args.slice(10, 10 + held).map(Number), released: args.slice(10 + held).map(Number) };
}

test('W3: only the first call is repeated under its number', () => {
  const member = joined();
  assert.equal(member.next('stay', 0).number, 1);
  assert.equal(member.next('stay', 5).number, 1, 'it was not answered');
  sync(member, []);
  assert.equal(member.next('stay', 10).number, 2);
  assert.equal(member.next('stay', 15).number, 3, 'also without a reply');
});

test('W4: what is claimed and not released is reported as held', () => {
  const member = joined();
  assert.deepEqual(sync(member, [[0, 100, 1]]).claim, [{ partition: 0, grant: 100 }]);
  assert.deepEqual(reports(member).held, []);
  assert.equal(member.claimed(0, 100), true);
  assert.deepEqual(reports(member).held, [0, 100]);
  assert.deepEqual(sync(member, [[0, 100, 1]]).claim, [], 'it is claimed once');
});

test('W5: a release is reported until a call that had it is answered, and an older reply does not grant it again', () => {
  const member = joined();
  sync(member, [[0, 100, 1]]);
  member.claimed(0, 100);
  const early = member.next('stay', 0);
  member.notHeld(0, 100);
  assert.deepEqual(reports(member).released, [0, 100, 0]);
  assert.deepEqual(member.replied(early, [early.number, 1, 9000, -1, 0, 100, 1]).claim, [], 'that line was on its way');
  assert.deepEqual(reports(member).released, [0, 100, 0], 'that call did not report it');
  sync(member, []);
  assert.deepEqual(reports(member).released, []);
});

test('W5: a stale grant is reported with the grant that was seen', () => {
  const member = joined();
  sync(member, [[2, 100, 1]]);
  member.notHeld(2, 100, 170);
  assert.deepEqual(reports(member).released, [2, 100, 170]);
});

test('W6: under a larger grant, the old lease is released first, and the new one claimed after the next reply', () => {
  const member = joined();
  sync(member, [[0, 100, 1]]);
  member.claimed(0, 100);
  const { drain, claim } = sync(member, [[0, 200, 1]]);
  assert.deepEqual([drain, claim], [[0], []]);
  member.notHeld(0, 100);
  assert.deepEqual(sync(member, [[0, 200, 1]]).claim, [{ partition: 0, grant: 200 }]);
});

for (const [what, grants] of [['0', [[0, 100, 0]]], ['another grant', [[0, 200, 1]]], ['no line', []]] as const) {
  test(`a partition that is held is drained if the reply has ${what} for it`, () => {
    const member = joined();
    sync(member, [[0, 100, 1]]);
    member.claimed(0, 100);
    assert.deepEqual(sync(member, grants as unknown as [number, number, 0 | 1][]).drain, [0]);
  });
}

test('W10: a claim whose grant is not current any more does not hold', () => {
  const member = joined();
  sync(member, [[0, 100, 1]]);
  sync(member, []);
  assert.equal(member.claimed(0, 100), false);
});

test('a partition that is listed with 0 and is not held is reported as released', () => {
  const member = joined();
  sync(member, [[3, 100, 0]]);
  assert.deepEqual(reports(member).released, [3, 100, 0]);
});

test('W7: the session counts from the first sending of a call, not from its repeat', () => {
  const member = joined();
  member.next('stay', 1000);
  const { call } = sync(member, [], 5000);
  assert.equal(call.number, 1);
  assert.equal(member.deadline, 1000 + TIMES.session);
});
