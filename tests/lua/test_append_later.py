"""append_later: events that wait until they are due, once per request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import DELAYED, DELETED, LOG, META, Raw
from tests.lua.steps import bodies, refused

REQUEST = f"{DELAYED}:a"
KEYS = [META, DELAYED, REQUEST]
YEAR = 366 * 86_400_000


async def waiting(raw: Raw) -> list[tuple[int, int, str]]:
    """Due time, order number and the rest of each delayed event."""
    found: Any = await raw.redis.zrange(DELAYED, 0, -1, withscores=True)
    texts = [(int(due), member.decode()) for member, due in found]
    return [(due, int(text[:16]), text[17:]) for due, text in texts]


async def test_s6_a_repeat_is_answered_with_the_first_reply_and_adds_nothing(raw: Raw) -> None:
    added, due, first, count = await raw.append_later("a", "one", "two", ms=60_000)
    assert (added, count) == (1, 2)
    assert [each[:2] for each in await waiting(raw)] == [(due, first), (due, first + 1)]
    before = await raw.dump()
    assert await raw.append_later("a", "one", "two", ms=60_000) == [0, due, first, 2]
    assert await raw.append_later("a", "other", ms=5) == [0, due, first, 2]
    assert await raw.dump() == before
    assert 0 < await raw.redis.pttl(REQUEST) <= 60_000


async def test_a_repeat_after_the_event_was_promoted_adds_nothing(raw: Raw) -> None:
    await raw.append_later("a", "one")
    assert (await raw.promote())[0] == 1
    assert (await raw.append_later("a", "one"))[0] == 0
    assert await raw.promote() == [0, 0, -1, 0]
    assert await bodies(raw) == ["one"]


async def test_events_wait_by_due_time_and_then_in_the_order_of_sending(raw: Raw) -> None:
    seconds, _ = await raw.redis.time()
    at = (int(seconds) + 60) * 1000
    for number, ms in enumerate((at + 5, at, at + 5, at - 5)):
        await raw.append_later(str(number), f"e{number}", ms=ms, kind="at")
    found = await waiting(raw)
    assert [each[2].partition("\n")[2] for each in found] == [
        f"msgpacke{number}" for number in (3, 1, 0, 2)
    ]
    meta: Any = await raw.redis.hgetall(META)
    assert (meta[b"delayed"], meta[b"delayed_due"]) == (b"4", b"%d" % (at - 5))


async def test_s5_a_first_call_declares_the_partition_and_adds_nothing_to_the_log(raw: Raw) -> None:
    await raw.append_later("a", ms=60_000)
    meta: Any = await raw.redis.hgetall(META)
    assert {meta[name] for name in (b"protocol", b"partitions", b"hash")} == {b"1", b"8", b"xxh64"}
    assert not await raw.redis.exists(LOG)


async def test_an_entry_comes_out_as_it_went_in(raw: Raw) -> None:
    body = b"\x00\n1 2\n\xff" * 3
    fields = ["json", body, "@trace", b"", b"", b"x"]
    call: list[Any] = [1, 8, "xxh64", 100, "delay", 0, 9_000, len(fields), *fields]
    await raw.call("append_later", KEYS, *call)
    await raw.promote()
    ((_, found),) = await raw.redis.execute_command("XRANGE", LOG, "-", "+")  # type: ignore[no-untyped-call]
    assert found == {b"json": body, b"@trace": b"", b"": b"x"}


async def test_what_is_past_is_due_now(raw: Raw) -> None:
    seconds, _ = await raw.redis.time()
    _, due, _, _ = await raw.append_later("a", ms=5, kind="at")
    assert int(seconds) * 1000 <= due <= (int(seconds) + 60) * 1000


async def test_as_many_events_wait_as_the_partition_may_hold(raw: Raw) -> None:
    await raw.append_later("a", *"abc", ms=60_000, size=4)
    said = await refused(raw, "FULL", raw.append_later("b", *"de", ms=60_000, size=4))
    assert "delayed=3 limit=4" in said
    assert (await raw.append_later("b", "d", ms=60_000, size=4))[0] == 1
    assert (await raw.append_later("b", "d", ms=60_000, size=4))[0] == 0, "a repeat needs no room"


async def test_requests_of_a_deleted_stream_count_for_nothing_in_its_successor(raw: Raw) -> None:
    await raw.append_later("a", "old", ms=60_000)
    await raw.call("delete", DELETED)
    assert not await raw.redis.exists(DELAYED)
    assert "deleted=" in await refused(raw, "MISSING", raw.append_later("a"))
    await raw.call("declare", [META], 1, 8, "xxh64")
    assert (await raw.append_later("a", "new"))[0] == 1
    await raw.promote()
    assert await bodies(raw) == ["new"]


async def test_order_numbers_rise_even_if_the_clock_goes_back(raw: Raw) -> None:
    await raw.append_later("a", ms=60_000)
    ahead = 4_000_000_000_000_000
    await raw.redis.hset(META, "delayed_last", str(ahead))
    assert (await raw.append_later("b", ms=60_000))[2] == ahead + 1


async def test_a_call_with_another_protocol_count_or_hash_is_a_mismatch(raw: Raw) -> None:
    await raw.append_later("a", ms=60_000)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        send = (100, "delay", 5, 9_000, 2, "f", "v")
        await refused(raw, "MISMATCH", raw.call("append_later", KEYS, *seen, *send))


@pytest.mark.parametrize("ms", [YEAR + 60_000, 10**14])
async def test_a_time_in_the_far_future_is_refused(raw: Raw, ms: int) -> None:
    said = await refused(raw, "BADARG", raw.append_later("a", ms=ms))
    assert f"field=ms limit={YEAR}" in said
    assert (await raw.append_later("a", ms=YEAR))[0] == 1


@pytest.mark.parametrize(
    "args",
    [
        ["delay", 5, 9_000],
        ["delay", 5, 9_000, 2, "f"],
        ["delay", 5, 9_000, 3, "f", "v", "w"],
        ["delay", -5, 9_000, 2, "f", "v"],
        ["delay", "", 9_000, 2, "f", "v"],
        ["soon", 5, 9_000, 2, "f", "v"],
        ["delay", 5, 0, 2, "f", "v"],
        ["delay", 5, 9_000, *([2, "f", "v"] * 1001)],
        ["delay", 5, 9_000, *([2, "f", "v"] * 101)],
    ],
)
async def test_a_malformed_call_is_refused(raw: Raw, args: list[str | int]) -> None:
    await refused(raw, "BADARG", raw.call("append_later", KEYS, 1, 8, "xxh64", 100, *args))


@pytest.mark.parametrize(
    "keys",
    [
        [META, DELAYED, f"{DELAYED}:"],
        [META, DELAYED, f"{DELAYED}:{'x' * 1001}"],
        [META, DELAYED, META],
        [META, REQUEST, REQUEST],
        [LOG, DELAYED, REQUEST],
    ],
)
async def test_s5_keys_that_do_not_belong_together_are_refused(raw: Raw, keys: list[str]) -> None:
    send = (1, 8, "xxh64", 100, "delay", 5, 9_000, 2, "f", "v")
    await refused(raw, "BADARG", raw.call("append_later", keys, *send))


async def test_s5_a_memory_that_cannot_be_read_is_not_taken_for_none(raw: Raw) -> None:
    await raw.redis.set(REQUEST, "junk")
    assert "stored=junk" in await refused(raw, "BADARG", raw.append_later("a"))


async def test_workers_are_told_only_if_the_event_is_the_next_one(raw: Raw) -> None:
    channel = "runnel:{shop:orders}:delayed"
    async with raw.redis.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        for key, ms in (("a", 60_000), ("b", 90_000), ("c", 30_000)):
            await raw.append_later(key, ms=ms)
        for _ in range(2):
            assert (await pubsub.get_message(timeout=5))["channel"] == channel.encode()
        assert await pubsub.get_message(timeout=0.1) is None
