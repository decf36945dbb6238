"""append_once: one event under a key, for a time, and what ends that time early."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import ASIDE, DELETED, LOG, META, OUTBOX, STATE, Raw
from tests.lua.steps import bodies, ready, refused

KEY = f"{LOG.removesuffix(':log')}:dedupe:order-17"


async def test_s6_a_repeat_under_the_key_is_answered_with_the_first_event(raw: Raw) -> None:
    added, id_, count = await raw.append_once("order-17", "a")
    assert (added, count) == (1, 1)
    assert await raw.ids() == [id_]
    await raw.append(1, 3)
    before = await raw.dump()
    for body in ("a", "b"):
        assert await raw.append_once("order-17", body) == [0, id_, 1]
    assert await raw.dump() == before
    assert (await raw.append_once("order-18", "c"))[0] == 1
    assert await bodies(raw) == ["a", "1.0", "1.1", "1.2", "c"]


async def test_s5_a_first_call_declares_the_partition(raw: Raw) -> None:
    await raw.append_once("order-17")
    meta: Any = await raw.redis.hgetall(META)
    assert meta.pop(b"dedupe").isdigit()
    assert meta == {b"protocol": b"1", b"partitions": b"8", b"hash": b"xxh64"}


async def test_the_key_is_remembered_for_the_window_of_the_first_call(raw: Raw) -> None:
    await raw.append_once("order-17", window=50_000)
    assert 40_000 < await raw.redis.pttl(KEY) <= 50_000
    await raw.append_once("order-17", window=900_000)
    assert await raw.redis.pttl(KEY) <= 50_000, "a repeat does not make it longer"


async def test_after_the_window_an_event_under_the_key_is_new(raw: Raw) -> None:
    await raw.append_once("order-17", "a")
    await raw.redis.pexpire(KEY, 0)
    assert (await raw.append_once("order-17", "b"))[0] == 1
    assert await bodies(raw) == ["a", "b"]


async def test_a_full_partition_does_not_remember_the_key_of_what_it_refused(raw: Raw) -> None:
    epoch, ids = await ready(raw, 5)
    said = await refused(raw, "FULL", raw.append_once("order-17", size=5))
    assert "processor=printer" in said
    await raw.commit(epoch, "0-0", ids[4], 5)
    added = await raw.append_once("order-17", size=5)
    assert added[0] == 1
    await raw.append(2, 4, size=9)
    assert await raw.append_once("order-17", size=5) == [0, *added[1:]], "a repeat needs no room"


async def test_a_key_is_remembered_although_its_event_was_trimmed(raw: Raw) -> None:
    _, id_, _ = await raw.append_once("order-17")
    await raw.append(1, 3, size=4)
    await raw.append(2, 3, size=4, when_full="drop_oldest")
    assert id_ not in await raw.ids()
    assert await raw.append_once("order-17") == [0, id_, 1]


async def test_drop_oldest_counts_what_is_dropped_once(raw: Raw) -> None:
    await ready(raw, 5)
    for added in (1, 0):
        reply = await raw.append_once("order-17", size=5, when_full="drop_oldest")
        assert reply[0] == added
        assert await raw.redis.hget(META, "dropped:printer") == b"1"


async def test_keys_of_a_deleted_stream_count_for_nothing_in_its_successor(raw: Raw) -> None:
    for number in range(3):
        await raw.append_once(f"order-{number}", "old")
    await raw.call("delete", DELETED)
    assert "deleted=" in await refused(raw, "MISSING", raw.append_once("order-0"))
    await raw.call("declare", [META], 1, 8, "xxh64")
    for number in range(3):
        # The log has come further than the events of the old one by the second call.
        assert (await raw.append_once(f"order-{number}", f"new{number}"))[0] == 1
        assert (await raw.append_once(f"order-{number}", "again"))[0] == 0
    assert await bodies(raw) == ["new0", "new1", "new2"]


async def test_keys_count_for_nothing_if_the_log_was_lost(raw: Raw) -> None:
    for again in (False, True):
        await raw.append_once("order-17")
        await raw.redis.delete(LOG)
        if again:
            await raw.redis.execute_command("XADD", LOG, "1-1", "f", "v")  # type: ignore[no-untyped-call]
        assert (await raw.append_once("order-17"))[0] == 1
        assert (await raw.append_once("order-17"))[0] == 0


async def test_the_mark_of_the_stream_stays_while_it_exists(raw: Raw) -> None:
    await raw.append_once("order-17")
    stored: Any = await raw.redis.get(KEY)
    assert stored.split()[1] == await raw.redis.hget(META, "dedupe")
    await raw.redis.hset(META, "dedupe", "5")  # Another one than the clock would make.
    _, id_, _ = await raw.append_once("order-18")
    await raw.register()
    await raw.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")
    assert await raw.redis.hget(META, "dedupe") == b"5"
    assert await raw.append_once("order-18") == [0, id_, 1]
    assert (await raw.append_once("order-17"))[0] == 1, "it has another mark"


async def test_a_call_with_another_protocol_count_or_hash_is_a_mismatch(raw: Raw) -> None:
    await raw.append(1)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        send = ("refuse", 60_000, 2, "f", "v")
        await refused(raw, "MISMATCH", raw.call("append_once", [LOG, META, KEY], *seen, 100, *send))


@pytest.mark.parametrize("key", [KEY.removesuffix("order-17"), LOG, f"{KEY}{'x' * 1500}"])
async def test_s5_a_key_that_is_none_is_refused(raw: Raw, key: str) -> None:
    send = (1, 8, "xxh64", 100, "refuse", 60_000, 2, "f", "v")
    await refused(raw, "BADARG", raw.call("append_once", [LOG, META, key], *send))


async def test_s5_a_memory_that_cannot_be_read_is_not_taken_for_none(raw: Raw) -> None:
    await raw.redis.set(KEY, "junk")
    assert "stored=junk" in await refused(raw, "BADARG", raw.append_once("order-17"))
