"""The call of `transact` has the keys and arguments of each effect, in the same order."""

from __future__ import annotations

from runnel.protocol import (
    CheckpointMove,
    Entries,
    PartitionKeys,
    Sink,
    StreamContract,
    TableWrites,
    Token,
    transact,
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
