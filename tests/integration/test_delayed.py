"""Calls about delayed events: what they send, and how replies and members are read."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import keys
from runnel.protocol import (
    StreamContract,
    append_later,
    cancel,
    promote,
    read_append_later,
    read_delayed,
    read_promote,
)
from runnel.protocol.scripts import Scripts

CONTRACT = StreamContract(4, "xxh64")


async def test_the_calls_fit_together(redis: Redis, app_name: str) -> None:
    scripts, prefix = Scripts(redis), keys.partition(app_name, "orders", 0, "orders")
    entries = [[b"json", b"\x00\xff\n", b"@a", b""], [b"json", b"2"]]
    call = append_later(prefix, CONTRACT, 100, ("delay", 60_000), "k", 9_000, entries)
    reply = read_append_later(await scripts.call(call))
    assert reply.applied
    assert len(reply.orders) == 2
    members: Any = await redis.zrange(keys.delayed(prefix), 0, -1, withscores=True)
    read = [read_delayed(member, due) for member, due in members]
    assert [each and each.entry for each in read] == entries
    assert [each and (each.due, each.order) for each in read] == [
        (reply.due, order) for order in reply.orders
    ]
    promoted = read_promote(await scripts.call(promote(prefix, CONTRACT, 100)))
    assert (promoted.moved, promoted.waiting, promoted.lost) == (0, 2, 0)
    assert promoted.next_in
    for order in reply.orders:
        assert await scripts.call(cancel(prefix, reply.due, order)) == 1
    assert read_promote(await scripts.call(promote(prefix, CONTRACT, 100))).next_in is None


def test_what_no_script_has_written_is_no_delayed_event() -> None:
    for member in (b"", b"junk", b"5\n", b"x 1\na", b"5 x\na", b"5 2\na", b"5 1 1\na"):
        assert read_delayed(member, b"5") is None
    assert read_delayed(b"0000000000000007 1 1\nab", "1e3") == (1000, 7, [b"a", b"b"])
