"""promote: what is due enters the log, in order, once; and nothing that is sent overtakes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import ASIDE, DELAYED, LOG, META, OUTBOX, STATE, Raw
from tests.lua.steps import bodies, ready, refused

KEYS = [LOG, META, DELAYED]


async def later(raw: Raw, *texts: str, ms: int = 0) -> None:
    """Delay an event for each text, in a request of its own."""
    for text in texts:
        await raw.append_later(text, text, ms=ms)


async def test_what_is_due_enters_the_log_in_order_and_only_once(raw: Raw) -> None:
    await later(raw, "late", ms=60_000)
    await later(raw, "b", "a")
    moved, waiting, next_in, lost = await raw.promote()
    assert (moved, waiting, lost) == (2, 1, 0)
    assert 0 < next_in <= 60_000
    assert (await raw.promote())[:2] == [0, 1]
    assert await bodies(raw) == ["b", "a"]
    assert await raw.redis.hget(META, "delayed") == b"1"


async def test_without_delayed_events_nothing_is_written(raw: Raw) -> None:
    assert await raw.promote() == [0, 0, -1, 0]
    assert await raw.dump() == {}


async def test_once_nothing_waits_meta_says_nothing_of_delayed_events(raw: Raw) -> None:
    await later(raw, "a")
    assert await raw.promote() == [1, 0, -1, 0]
    assert await raw.redis.hmget(META, "delayed", "delayed_due") == [None, None]


@pytest.mark.parametrize("send", ["append", "append_numbered", "append_once"])
async def test_what_is_sent_does_not_overtake_what_is_due(raw: Raw, send: str) -> None:
    calls: dict[str, Any] = {
        "append": lambda: raw.append(1),
        "append_numbered": lambda: raw.append_numbered([1]),
        "append_once": lambda: raw.append_once("k", "x"),
    }
    await later(raw, "a", ms=60_000)
    await calls[send]()
    repeat = await calls[send]()
    assert repeat[0] == 0
    await later(raw, "due")
    assert await calls[send]() == repeat, "a repeat adds nothing, so it waits for nothing"
    await raw.redis.delete(META.replace(":meta", ":producers"), META.replace(":meta", ":numbers"))
    await raw.redis.delete(META.replace(":meta", ":dedupe:k"))
    assert "due=" in await refused(raw, "OVERDUE", calls[send]())
    assert (await raw.promote())[:2] == [1, 1]
    assert (await calls[send]())[0] == 1
    assert (await bodies(raw))[1] == "due"


async def test_an_outbox_does_not_wait_for_what_is_due(raw: Raw) -> None:
    await later(raw, "due")
    assert (await raw.append_numbered([1], "outbox:orders:3:printer"))[0] == 1


async def test_a_call_moves_no_more_than_two_hundred_events_or_a_megabyte(raw: Raw) -> None:
    for at in range(0, 450, 150):
        await raw.append_later(f"a{at}", *(f"{i:03}" for i in range(at, at + 150)))
    assert [(await raw.promote())[0] for _ in range(4)] == [200, 200, 50, 0]
    assert await bodies(raw) == [f"{i:03}" for i in range(450)]
    await raw.append_later("big", *("x" * 400_000 for _ in range(5)))
    assert [(await raw.promote())[0] for _ in range(3)] == [3, 2, 0]


async def test_in_a_full_log_what_is_due_waits_and_sends_wait_with_it(raw: Raw) -> None:
    epoch, ids = await ready(raw, 5)
    await later(raw, "a", "b", "c")
    for call in (raw.promote(size=5), raw.promote(size=4)):
        assert "processor=printer" in await refused(raw, "FULL", call)
    await refused(raw, "OVERDUE", raw.append(2, size=5))
    assert (await raw.promote(size=7))[:3] == [2, 1, 0], "as many as have room"
    await refused(raw, "FULL", raw.promote(size=7))
    await raw.commit(epoch, "0-0", ids[1], 2)
    assert (await raw.promote(size=7))[:3] == [1, 0, -1]
    assert (await bodies(raw))[-3:] == ["a", "b", "c"]
    assert (await raw.ids())[0] == ids[1], "the entry at the checkpoint stays"


async def test_one_event_enters_where_retention_makes_room_for_one(raw: Raw) -> None:
    epoch, ids = await ready(raw, 5)
    await later(raw, "a", "b", "c")
    await raw.commit(epoch, "0-0", ids[1], 2)
    assert (await raw.promote(size=5))[:2] == [1, 2]
    await refused(raw, "FULL", raw.promote(size=5))


async def test_drop_oldest_counts_what_is_dropped(raw: Raw) -> None:
    await ready(raw, 5)
    await later(raw, "a", "b")
    assert (await raw.promote(size=5, when_full="drop_oldest"))[0] == 2
    assert await raw.redis.hget(META, "dropped:printer") == b"2"
    assert (await bodies(raw))[-2:] == ["a", "b"]


async def test_events_that_disappear_are_counted_once(raw: Raw) -> None:
    await later(raw, "a", "b", "c", ms=60_000)
    await raw.redis.delete(DELAYED)
    assert await raw.promote() == [0, 0, -1, 3]
    assert await raw.promote() == [0, 0, -1, 0]
    assert await raw.redis.hget(META, "delayed_lost") == b"3"
    assert (await raw.append(1))[0] == 1


async def test_events_whose_meta_was_lost_are_found_again(raw: Raw) -> None:
    await later(raw, "a")
    await later(raw, "b", ms=60_000)
    await raw.redis.delete(META)
    assert (await raw.promote())[:2] == [1, 1]
    assert await raw.redis.hmget(META, "delayed", "protocol") == [b"1", b"1"]
    assert await bodies(raw) == ["a"]


@pytest.mark.parametrize("junk", ["junk", "1 2", "0 1 1 1\nab", "5 99 1\nab", "5 1 1\nabc"])
async def test_what_cannot_be_read_is_lost_and_holds_nothing_up(raw: Raw, junk: str) -> None:
    await later(raw, "a")
    await raw.redis.zadd(DELAYED, {junk: 5})
    assert await raw.promote() == [2, 0, -1, 1]
    assert await bodies(raw) == ["a"]
    assert (await raw.append(1))[0] == 1


async def test_an_append_comes_out_of_a_wrong_due_time(raw: Raw) -> None:
    await raw.append(1)
    for junk in ("5", "x"):
        await raw.redis.hset(META, "delayed_due", junk)
        await refused(raw, "OVERDUE", raw.append(2))
        assert await raw.promote() == [0, 0, -1, 0]
        assert await raw.redis.hget(META, "delayed_due") is None
    assert (await raw.append(2))[0] == 1


async def test_another_view_of_the_stream_is_a_mismatch(raw: Raw) -> None:
    await later(raw, "a")
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        await refused(raw, "MISMATCH", raw.call("promote", KEYS, *seen, 100, "refuse"))


@pytest.mark.parametrize("args", [[], [1, 8, "xxh64", 1, "refuse"], [1, 8, "xxh64", 9, "shed"]])
async def test_a_malformed_call_is_refused(raw: Raw, args: list[str | int]) -> None:
    await refused(raw, "BADARG", raw.call("promote", KEYS, *args))


async def test_describe_tells_what_waits(raw: Raw) -> None:
    _, due, _, _ = await raw.append_later("a", ms=60_000)
    flat = await raw.call("describe", [LOG, META, STATE], "printer")
    told = dict(zip(flat[::2], flat[1::2], strict=True))
    assert (told["meta.delayed"], told["meta.delayed_due"]) == ("1", str(due))


async def test_delayed_events_survive_their_processor(raw: Raw) -> None:
    await later(raw, "a")
    await raw.register()
    await raw.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")
    assert (await raw.promote())[0] == 1
