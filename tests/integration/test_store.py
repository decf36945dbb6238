"""The store of `runnel.testing` answers and refuses as the scripts do on a server.

Both carry out the same random calls of owners and producers. Ids differ, since each has a clock of
its own: so entries are compared by their numbers.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest

from runnel import keys, protocol
from runnel.errors import ProtocolError
from runnel.protocol import (
    CheckpointMove,
    Effect,
    Entries,
    ParkedEntries,
    PartitionKeys,
    PostponedEntries,
    Replayed,
    Sink,
    StreamContract,
    TableWrites,
    Token,
    parked_entry,
    postponed_key,
)
from runnel.protocol.scripts import Call, Scripts
from runnel.testing.store import Store

CONTRACT = StreamContract(1, "xxh64")
PREFIX = "runnel:{app:s:0}:s"
SINK = Sink("runnel:{app:t:0}:t", CONTRACT, 6, False)
SIZE = 8
#: In ms: what is due then is not due in this test.
HOUR = 3_600_000
#: With an age that no entry reaches: each side has a clock of its own.
LIMITS = protocol.limits(SIZE, 30 * 86_400_000)
WORK, OTHER = PartitionKeys(PREFIX, "work"), PartitionKeys(PREFIX, "other")


class Side:
    """The server, or the store: makes calls, and knows its own ids by their numbers."""

    def __init__(self, scripts: Scripts | None, store: Store) -> None:
        self._scripts = scripts
        self._store = store
        self.ids = ["0-0"]
        #: Due time and order number of each event that was sent for later.
        self.receipts: list[tuple[int, int]] = []
        self.tokens: dict[str, Token] = {}
        self.checkpoints: dict[str, str] = {}

    async def call(self, call: Call) -> Any:
        """The reply, or the class of the refusal and what it names."""
        try:
            if self._scripts is None:
                return self._store.run(call)
            return await self._scripts.call(call)
        except ProtocolError as refusal:
            named = dict(refusal.details)
            named.pop("epoch", None)
            if "checkpoint" in named:
                named["checkpoint"] = str(self.number(named["checkpoint"]))
            return type(refusal).__name__, named

    def number(self, id_: str) -> int:
        return self.ids.index(id_)

    async def append(self, call: Call) -> Any:
        reply = await self.call(call)
        if not isinstance(reply, list):
            return reply
        ids = protocol.appended_ids(reply)
        if reply[0]:
            self.ids += ids
        return [self.number(each) for each in ids]

    async def append_numbered(self, call: Call) -> Any:
        reply = await self.call(call)
        if isinstance(reply, tuple):
            return reply
        read = protocol.read_append_numbered(reply)
        if read.added:
            self.ids += read.ids
        return read.added, read.last

    async def append_later(self, call: Call) -> Any:
        reply = await self.call(call)
        if isinstance(reply, tuple):
            return reply
        read = protocol.read_append_later(reply)
        places = [(read.due, order) for order in read.orders]
        if read.applied:
            self.receipts += places
        return read.applied, [self.receipts.index(each) for each in places]

    async def promote(self) -> Any:
        """What waits, and whether the next one is due; takes in what has entered the log."""
        moved = await self.call(protocol.promote(PREFIX, CONTRACT, SIZE))
        if isinstance(moved, tuple):
            return moved
        read = protocol.read_promote(moved)
        if self._scripts is None:
            entries = [each.id for each in self._store.logs[WORK.log].entries]
        else:
            found: Any = await self._scripts.client.xrange(WORK.log)
            entries = [each.decode() for each, _ in found]
        new = entries[entries.index(self.ids[-1]) + 1 :] if self.ids[-1] in entries else entries
        self.ids += new
        return len(new), read.waiting, read.next_in is None, read.lost

    async def set_aside(self, names: PartitionKeys) -> list[str]:
        """The entries of the parked events."""
        if self._scripts is None:
            return [each.id for each in self._store.group(names.state).still_parked()]
        found: Any = await self._scripts.client.xrange(protocol.parked_names(names)[0])
        return [each.decode() for each, _ in found]

    async def due(self, names: PartitionKeys) -> Any:
        aside = await self.set_aside(names)
        read = protocol.read_due(await self.call(protocol.due(names, 100)))
        told = sorted((aside.index(each.entry), each.attempts) for each in read.events)
        return read.next_in is None, read.gone, told

    async def postpone(self, names: PartitionKeys, at: int, ms: int | None, attempts: int) -> Any:
        aside = [*await self.set_aside(names), "9-9"]
        failure = "1-0", attempts, ("E", "x")
        token, entry = self.tokens[names.processor], aside[at % len(aside)]
        return await self.call(protocol.postpone(names, token, entry, ms, failure))

    async def claim(self, names: PartitionKeys, grant: int, nonce: str) -> Any:
        reply = await self.call(protocol.claim(names, CONTRACT, "m", grant, nonce))
        if isinstance(reply, tuple):
            return reply
        read = protocol.read_claim(reply)
        self.tokens[names.processor] = Token(read.epoch, nonce)
        self.checkpoints[names.processor] = read.checkpoint
        ids = (self.number(each) for each in (read.checkpoint, read.event or "0-0"))
        next_ = self.number(read.next_id) if read.next_id else None
        # The store does not count what `drop_oldest` loses.
        alike = replace(read, epoch=0, checkpoint="", event="", next_id="", lost=None, exact=True)
        return alike, *ids, next_

    def move(self, names: PartitionKeys, count: int, *, release: bool) -> CheckpointMove:
        prev = self.checkpoints[names.processor]
        next_ = self.ids[min(self.number(prev) + count, len(self.ids) - 1)]
        return CheckpointMove(prev, next_, self.number(next_) - self.number(prev), release)

    async def commit(
        self, names: PartitionKeys, move: CheckpointMove, effects: list[Effect]
    ) -> Any:
        token = self.tokens[names.processor]
        if effects:
            call = protocol.transact(names, token, move, effects)
        else:
            call = protocol.commit(names, token, move)
        reply = await self.call(call)
        if isinstance(reply, list):
            self.checkpoints[names.processor] = move.next
        return reply


class Both:
    """Carries out the same on both sides, and compares."""

    def __init__(self, scripts: Scripts, rng: random.Random) -> None:
        self.store = Store(lambda: 1_000)
        self.sides = [Side(scripts, self.store), Side(None, self.store)]
        self._rng = rng
        self._grants = {"work": 0, "other": 0}
        self._number, self._next = 0, 1

    async def same(self, what: str, *replies: Any) -> None:
        server, store = replies
        if isinstance(store, list) and isinstance(server, list):
            server, store = list(map(_plain, server)), list(map(_plain, store))
        assert store == server, what

    async def append(self) -> None:
        n = self._rng.randint(1, 3)
        kinds = ["refuse", "drop_unread", "drop_oldest"]
        (when_full,) = self._rng.choices(kinds, [5, 1, 1])
        entries = [[b"f", b"%d" % each] for each in range(n)]
        call = protocol.append(PREFIX, CONTRACT, LIMITS, when_full, "p" * 16, self._next, entries)
        replies = [await side.append(call) for side in self.sides]
        await self.same("append", *replies)
        self._next += isinstance(replies[0], list)

    async def append_once(self) -> None:
        key = str(self._rng.randint(0, 5))
        call = protocol.append_once(PREFIX, CONTRACT, SIZE, "refuse", key, 10**6, [b"f", b"v"])
        await self.same("append_once", *[await side.append(call) for side in self.sides])

    async def append_numbered(self) -> None:
        self._number += self._rng.randint(0, 1)
        entries = [(f"{self._number}-{each}", [b"f", b"v"]) for each in range(2)]
        call = protocol.append_numbered(PREFIX, CONTRACT, SIZE, "refuse", "producer:p", entries)
        replies = [await side.append_numbered(call) for side in self.sides]
        await self.same("append_numbered", *replies)

    async def claim(self, names: PartitionKeys | None = None) -> None:
        names = names or self._rng.choice([WORK, OTHER])
        self._grants[names.processor] += 1
        nonce = f"{self._rng.getrandbits(64):016x}"
        replies = [
            await side.claim(names, self._grants[names.processor], nonce) for side in self.sides
        ]
        await self.same("claim", *replies)

    async def commit(self) -> None:
        names, count = self._rng.choice([WORK, OTHER]), self._rng.randint(0, 3)
        release, kinds = self._rng.random() < 0.1, self._rng.sample(range(5), 2)
        if {2, 4} <= set(kinds):
            kinds = [4]  # A commit does not do both.
        replies = []
        for side in self.sides:
            move = side.move(names, count, release=release)
            moved = move.next != move.prev
            effects = [self._effect(names, each, count) for each in kinds] if moved else []
            replies.append(await side.commit(names, move, [e for e in effects if e]))
        await self.same(f"commit {kinds}", *replies)

    def _effect(self, names: PartitionKeys, kind: int, count: int) -> Effect | None:
        if kind == 0:
            key = b"%d" % count
            return TableWrites(PREFIX, "sums", [(key, names.processor.encode())], [b"gone"])
        if kind == 1:
            when_full = ["refuse", "drop_unread", "drop_oldest", "refuse"][count]
            return Entries(SINK, [[b"f", b"v"]], when_full)
        if kind == 4:
            name = postponed_key("1-0", b"k%d" % count)
            entry = parked_entry(name, "1-0", [b"f", b"v"], 1)
            return PostponedEntries(names, (count % 2) * HOUR, 5, [entry])
        if kind == 2:
            return ParkedEntries(names, 5, [parked_entry(b"k%d" % count, "1-0", [b"f", b"v"])])
        return None

    async def append_later(self) -> None:
        now = self._rng.random() < 0.5
        if now and len(self.store.logs[WORK.log]) > SIZE - 4:
            return  # What is due has room: it is the server alone that refuses sends then.
        key, n = str(self._rng.randint(0, 9)), self._rng.randint(1, 3)
        entries = [[b"f", b"%d" % each] for each in range(n)]
        due = ("delay", 0 if now else HOUR)
        call = protocol.append_later(PREFIX, CONTRACT, 6, due, key, HOUR, entries)
        replies = [await side.append_later(call) for side in self.sides]
        await self.same("append_later", *replies)
        await self.same("promote", *[await side.promote() for side in self.sides])

    async def cancel(self) -> None:
        if receipts := self.sides[0].receipts:
            at = self._rng.randrange(len(receipts))
            calls = [protocol.cancel(PREFIX, *side.receipts[at]) for side in self.sides]
            pairs = zip(self.sides, calls, strict=True)
            await self.same("cancel", *[await side.call(call) for side, call in pairs])

    async def postponed(self) -> None:
        names, at = self._rng.choice([WORK, OTHER]), self._rng.randint(0, 5)
        await self.same("due", *[await side.due(names) for side in self.sides])
        ms, attempts = self._rng.choice([None, 0, HOUR]), self._rng.randint(2, 4)
        replies = [await side.postpone(names, at, ms, attempts) for side in self.sides]
        await self.same("postpone", *replies)
        await self.same("due", *[await side.due(names) for side in self.sides])

    async def attempt(self) -> None:
        names = self._rng.choice([WORK, OTHER])
        kind, attempts = self._rng.choice(["start", "failure", "wait"]), self._rng.randint(1, 5)
        at = self._rng.randint(0, len(self.sides[0].ids) - 1)
        replies = [
            await side.call(
                protocol.attempt(
                    names, side.tokens[names.processor], kind, side.ids[at], attempts, ("E", "x")
                )
            )
            for side in self.sides
        ]
        await self.same("attempt", *replies)

    async def compare_state(self, scripts: Scripts) -> None:
        """What the server has, the store has."""
        client = scripts.client
        for names in (WORK, OTHER):
            group = self.store.register(names)
            parked, of_keys, _ = protocol.parked_names(names)
            of_server: Any = await client.hgetall(of_keys)
            assert timeless(of_server) == timeless(group.parked_keys)
            assert await client.xlen(parked) == len(group.still_parked())
            assert await client.zcard(names.postponed) == len(group.due)
            stored = await client.hmget(names.state, "processed", "attempts", "unclean_tenures")
            assert [int(each or 0) for each in stored] == [
                group.processed,
                group.attempts,
                group.unclean,
            ]
        table = keys.table(PREFIX, "sums")
        assert await client.hgetall(table) == self.store.tables[table]
        assert await client.zcard(keys.delayed(PREFIX)) == len(self.store.due[WORK.log])
        for log in (WORK.log, SINK.log):
            assert await client.xlen(log) == len(self.store.logs[log])


def timeless(parked_keys: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Without the times of failed replays."""
    return {key: re.sub(rb"(\n\d+) \d+$", rb"\1", each) for key, each in parked_keys.items()}


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


async def begun(scripts: Scripts, seed: int) -> Both:
    both = Both(scripts, random.Random(seed))
    for call in (protocol.declare(PREFIX, CONTRACT), *SINK.declarations()):
        await scripts.call(call)
    for names in (WORK, OTHER):
        await scripts.call(protocol.register(names, CONTRACT, "0"))
        both.store.register(names)
        await both.claim(names)
    return both


@pytest.mark.only_on("server", "sentinel")
@pytest.mark.parametrize("seed", range(6))
async def test_random_calls_have_the_same_outcome(scripts: Scripts, seed: int) -> None:
    both, rng = await begun(scripts, seed), random.Random(seed)
    for _ in range(150):
        steps = [both.append, both.append_once, both.append_numbered, both.commit, both.attempt]
        later = [both.append_later, both.cancel, both.postponed]
        (step,) = rng.choices([*steps, *later, both.claim], [4, 1, 1, 6, 1, 2, 1, 2, 1])
        await step()
        await both.compare_state(scripts)


@pytest.mark.only_on("server", "sentinel")
async def test_replays_have_the_same_outcome(scripts: Scripts) -> None:
    both = await begun(scripts, 1)
    await both.append()
    entries = [parked_entry(key, "1-0", [b"f", b"v"]) for key in (b"a", b"a", b"b")]
    replies = []
    for side in both.sides:
        move = side.move(WORK, 1, release=False)
        replies.append(await side.commit(WORK, move, [ParkedEntries(WORK, 5, entries)]))
    await both.same("park", *replies)
    await scripts.call(protocol.replay(WORK, [b"a", b"b"], "n" * 16))
    both.store.replay(both.store.register(WORK))
    await both.claim(WORK)
    group = both.store.register(WORK)
    log, of_keys, marks = protocol.parked_names(WORK)
    found: Any = await scripts.client.xrange(log)
    ids = [[each.decode() for each, _ in found], [each.id for each in group.still_parked()]]
    assert sorted(await scripts.client.hkeys(marks)) == sorted(both.store.query("HKEYS", marks))
    read = both.store.query("XRANGE", log, "-", "+", "COUNT", 20)
    assert [fields for _, fields in read] == [
        [part for pair in fields.items() for part in pair] for _, fields in found
    ]
    replies = []
    for side, own in zip(both.sides, ids, strict=True):
        checkpoint = side.checkpoints["work"]
        stay = CheckpointMove(checkpoint, checkpoint, 0)
        replies.append(await side.commit(WORK, stay, [Replayed(WORK, own[:1])]))
    await both.same("replayed", *replies)
    again = [
        await side.call(protocol.park_again(WORK, side.tokens["work"], b"a", "1-0", 4, ("E", "x")))
        for side in both.sides
    ]
    await both.same("park_again", *again)
    stored: Any = await scripts.client.hgetall(of_keys)
    assert timeless(stored) == timeless(group.parked_keys)
    assert stored[b"a"].startswith(b"1 1-0 4 E x\n1 ")
    assert await scripts.client.hkeys(marks) == list(group.replay)


def test_a_call_that_only_servers_carry_out_says_so() -> None:
    store = Store(lambda: 1)
    with pytest.raises(NotImplementedError, match="does not carry out the script elect"):
        store.run(Call("elect", (), ()))
    with pytest.raises(NotImplementedError, match="does not carry out GET of k"):
        store.query("GET", "k")
