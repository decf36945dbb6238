"""What `runnel.protocol` builds is read back as it was given."""

from __future__ import annotations

import pytest

from runnel.protocol import (
    CheckpointMove,
    Entries,
    OutboxEntries,
    ParkedEntries,
    PartitionKeys,
    Replayed,
    Sink,
    StreamContract,
    TableWrites,
    Token,
    append,
    commit,
    transact,
)
from runnel.testing.parsing import (
    Added,
    Arguments,
    SetAside,
    Unparked,
    Written,
    as_bytes,
    move_of,
    parts_of,
)
from runnel.testing.trimming import Limits

KEYS = PartitionKeys("runnel:{app:s:1}:s", "work")
TOKEN = Token(7, "n" * 32)
MOVE = CheckpointMove("1-0", "3-0", 2, release=True)
CONTRACT = StreamContract(4, "xxh64")


def test_a_move_and_its_token_come_back() -> None:
    for call in (commit(KEYS, TOKEN, MOVE), transact(KEYS, TOKEN, MOVE, [])):
        assert move_of(call) == ("work", TOKEN, MOVE)


def test_effects_come_back_in_their_order() -> None:
    own = Sink("runnel:{app:s:1}:s.dead", CONTRACT, 10, True)
    other = Sink("runnel:{app:t:2}:t", CONTRACT, 20, False)
    entries = [[b"a", b"1"], [b"a", b"2", b"b", b""]]
    call = transact(
        KEYS,
        TOKEN,
        MOVE,
        [
            TableWrites(KEYS.prefix, "sums", [(b"k", b"v"), (b"l", b"w")], [b"x"]),
            TableWrites(KEYS.prefix, "last", [(b"k", b"v")], (), 60),
            Entries(own, entries),
            Entries(other, entries[:1], "drop_oldest"),
            ParkedEntries(KEYS, 5, [[b"key", b"k", b"f", b"v"]]),
            Replayed(KEYS, ["4-0", "5-0"]),
        ],
    )
    assert parts_of(call) == [
        Written(f"{KEYS.prefix}:table:sums", [(b"k", b"v"), (b"l", b"w")], [b"x"]),
        Written(f"{KEYS.prefix}:table:last", [(b"k", b"v")], [], 60),
        Added(own.log, Limits(10, 0, "refuse"), entries),
        Added(other.log, Limits(20, 0, "drop_oldest"), entries[:1]),
        SetAside(5, [[b"key", b"k", b"f", b"v"]]),
        Unparked(["4-0", "5-0"]),
    ]


def test_an_effect_that_is_not_known_is_refused() -> None:
    call = transact(KEYS, TOKEN, MOVE, [OutboxEntries(KEYS.outbox, 5, [[b"a", b"1"]])])
    with pytest.raises(NotImplementedError, match="no effect 'outbox'"):
        parts_of(call)


def test_arguments_are_taken_one_after_the_other() -> None:
    call = append(KEYS.prefix, CONTRACT, 100, "refuse", "p", 3, [[b"a", b"1"], [b"b", "2"]])  # type: ignore[list-item]
    arguments = Arguments(call.args, 3)
    assert arguments.many(4) == [100, "refuse", "p", 3]
    assert (arguments.entry(), arguments.left) == ([b"a", b"1"], True)
    assert (arguments.entry(), arguments.left) == ([b"b", b"2"], False)
    assert [as_bytes(each) for each in (b"x", "y", 3)] == [b"x", b"y", b"3"]
