"""The call of `transact` has the keys and arguments of each effect, in the same order."""

from __future__ import annotations

import pytest

from runnel.errors import BadArgument
from runnel.protocol import (
    CheckpointMove,
    Entries,
    OutboxEntries,
    OutboxTrim,
    PartitionKeys,
    Sink,
    StreamContract,
    TableWrites,
    Token,
    outbox_sender,
    transact,
    trim_outbox,
)

PREFIX = "runnel:{shop:orders:3}:orders"


def test_keys_and_arguments_follow_the_order_of_the_effects() -> None:
    keys, token = PartitionKeys(PREFIX, "book"), Token(7, "nonce")
    writes = TableWrites(PREFIX, "balances", [(b"alice", b"5"), (b"bob", b"6")], [b"carol"])
    dead = Sink("runnel:{shop:orders:3}:dead", StreamContract(8, "xxh64"), 100, derived=True)
    letters = Entries(dead, [[b"f", b"v"], [b"g", b"w"]])
    call = transact(keys, token, CheckpointMove("1-0", "2-0", 3), [writes, letters])
    assert call.keys == (
        *keys.of_script(),
        f"{PREFIX}:table:balances",
        "runnel:{shop:orders:3}:dead:log",
        "runnel:{shop:orders:3}:dead:meta",
    )
    step, effects = call.args[:7], call.args[7:]
    assert list(step) == ["book", 7, "nonce", "1-0", "2-0", 3, 0]
    assert list(effects[:8]) == ["table", 2, 1, b"alice", b"5", b"bob", b"6", b"carol"]
    assert list(effects[8:]) == ["derived", 100, "refuse", 2, 2, b"f", b"v", 2, b"g", b"w"]


def test_a_table_whose_keys_expire_has_two_keys() -> None:
    keys, token = PartitionKeys(PREFIX, "book"), Token(7, "nonce")
    writes = TableWrites(PREFIX, "visits", [(b"alice", b"5")], [b"carol"], expire=60)
    call = transact(keys, token, CheckpointMove("1-0", "2-0", 3), [writes])
    name = f"{PREFIX}:table:visits"
    assert call.keys == (*keys.of_script(), name, f"{name}:expiry")
    assert list(call.args[7:]) == ["expiring", 60, 1, 1, b"alice", b"5", b"carol"]


def test_an_entry_of_the_outbox_says_where_it_goes() -> None:
    sink = Sink("runnel:{shop:alerts:7}:alerts", StreamContract(8, "xxh64"), 100, derived=False)
    assert sink.address() == "alerts 7 8 xxh64 100"
    assert Sink.at("shop", sink.address()) == sink
    for wrong in ("", "alerts 7 8 xxh64", "alerts 7 8 xxh64 x", "alerts -1 8 xxh64 100"):
        with pytest.raises(BadArgument):
            Sink.at("shop", wrong)


def test_an_outbox_has_the_key_and_the_name_of_its_processor() -> None:
    names = PartitionKeys(PREFIX, "book")
    entries = OutboxEntries(names.outbox, 1000, [[b"to", b"alerts 7 8 xxh64 100", b"f", b"v"]])
    call = transact(names, Token(7, "nonce"), CheckpointMove("1-0", "2-0", 3), [entries])
    assert call.keys == (*names.of_script(), f"{PREFIX}:outbox:book")
    assert list(call.args[7:10]) == ["outbox", 1000, 1]
    assert list(call.args[10:]) == [4, b"to", b"alerts 7 8 xxh64 100", b"f", b"v"]
    call = trim_outbox(names, Token(7, "nonce"), OutboxTrim("7-2", 2, 1, "alerts", "r" * 2000))
    assert call.keys == (names.state, f"{PREFIX}:outbox:book")
    assert list(call.args) == [7, "nonce", "7-2", 2, 1, "alerts", "r" * 1000]
    assert outbox_sender(names) == "outbox:orders:3:book"


@pytest.mark.parametrize(
    ("age", "when_full", "end"),
    [
        (0, "refuse", "100"),
        (60_000, "refuse", "100,60000"),
        (0, "drop_unread", "100 drop_unread"),
        (60_000, "drop_unread", "100,60000 drop_unread"),
    ],
)
def test_an_address_says_how_long_events_stay_there(age: int, when_full: str, end: str) -> None:
    prefix, contract = "runnel:{shop:alerts:7}:alerts", StreamContract(8, "xxh64")
    sink = Sink(prefix, contract, 100, False, age, when_full)
    assert sink.address() == f"alerts 7 8 xxh64 {end}"
    assert Sink.at("shop", sink.address()) == sink


@pytest.mark.parametrize("end", ["100 drop_oldest", "100,", "100,x", ",5", "100 refuse more", ""])
def test_another_address_is_refused(end: str) -> None:
    with pytest.raises(BadArgument, match="does not say where"):
        Sink.at("shop", f"alerts 7 8 xxh64 {end}".rstrip() if end else "alerts 7 8 xxh64")
