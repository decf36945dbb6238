"""append: order, limits, and what a full partition may drop."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.protocol import appended_ids
from tests.lua.conftest import LOG, META, OTHER, PRODUCERS, Raw
from tests.lua.steps import ready, refused, repeated

KEYS = [LOG, META, PRODUCERS]
SECOND = f"{LOG.removesuffix(':log')}:processor:mailer"


async def test_s3_events_of_one_append_keep_their_order_and_share_the_first_part(
    raw: Raw,
) -> None:
    applied, first, count = await raw.append(1, 1000, size=2000)
    assert (applied, count) == (1, 1000)
    ms, seq = first.split("-")
    assert await raw.ids() == [f"{ms}-{int(seq) + i}" for i in range(1000)]
    entries: Any = await raw.redis.xrange(LOG, count=1)
    assert entries[0][1] == {b"msgpack": b"1.0"}


async def test_s6_only_the_last_append_of_a_producer_is_known_again(raw: Raw) -> None:
    await raw.append(1)
    second = await raw.append(2)
    assert await raw.append(2) == [0, *second[1:]]
    assert "last=2 given=1" in await refused(raw, "OUTOFORDER", raw.append(1))
    assert "last=2 given=4" in await refused(raw, "OUTOFORDER", raw.append(4))
    assert (await raw.append(1, producer="q"))[0] == 1, "producers count for themselves"


async def test_s6_a_repeat_is_known_even_if_the_partition_is_full_by_now(raw: Raw) -> None:
    first = await raw.append(1, 4, size=5)
    await raw.append(1, 1, producer="q", size=5)
    assert await raw.append(1, 4, size=5) == [0, *first[1:]]
    await refused(raw, "FULL", raw.append(2, 1, size=5))


async def test_s4_the_slowest_processor_is_the_one_that_is_named(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.call("register", [LOG, META, SECOND], 1, 8, "xxh64", "mailer", "0")
    await raw.commit(epoch, "0-0", ids[8], 9)
    said = await refused(raw, "FULL", raw.append(2, 5, size=10))
    assert "processor=mailer" in said
    assert "checkpoint=0-0" in said
    await raw.call("remove", [LOG, META, SECOND], "mailer")
    assert (await raw.append(2, 5, size=10))[0] == 1, "one that is removed holds nothing back"


async def test_drop_oldest_counts_for_each_processor_what_it_had_not_passed(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.call("register", [LOG, META, SECOND], 1, 8, "xxh64", "mailer", "$")
    await raw.commit(epoch, "0-0", ids[1], 2)
    first = await raw.append(2, 5, size=10, policy="drop_oldest")
    before = await raw.dump()
    assert await raw.append(2, 5, size=10, policy="drop_oldest") == [0, *first[1:]]
    assert await raw.dump() == before, "a repeat drops and counts nothing"
    assert await raw.redis.hget(META, "dropped:printer") == b"2"
    assert await raw.redis.hget(META, "dropped:mailer") is None
    assert len(await raw.ids()) == 10


async def test_drop_oldest_drops_nothing_while_there_is_room(raw: Raw) -> None:
    _, ids = await ready(raw, 5)
    await raw.append(2, 5, size=10, policy="drop_oldest")
    assert (await raw.ids())[:5] == ids
    assert await raw.redis.hget(META, "dropped:printer") is None


async def test_an_append_is_refused_where_the_stream_is_seen_otherwise(raw: Raw) -> None:
    await raw.append(1)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        call = raw.call("append", KEYS, *seen, 100, "refuse", "p", 2, 2, "f", "v")
        await refused(raw, "MISMATCH", call)


async def test_s6_agree_says_once_who_was_first(raw: Raw) -> None:
    assert await repeated(raw, "declare", [META], 1, 8, "xxh64") == (1, 0)
    assert await raw.redis.hgetall(META) == {
        b"protocol": b"1",
        b"partitions": b"8",
        b"hash": b"xxh64",
    }


@pytest.mark.parametrize(
    "args",
    [
        ["x", 8, "xxh64", 100, "refuse", "p", 1, 2, "f", "v"],
        [1, "x", "xxh64", 100, "refuse", "p", 1, 2, "f", "v"],
        [1, 10001, "xxh64", 100, "refuse", "p", 1, 2, "f", "v"],
        [1, 8, "", 100, "refuse", "p", 1, 2, "f", "v"],
        [1, 8, "xxh64", "x", "refuse", "p", 1, 2, "f", "v"],
        [1, 8, "xxh64", "10.5", "refuse", "p", 1, 2, "f", "v"],
        [1, 8, "xxh64", 100, "refuse", "p", "1.5", 2, "f", "v"],
        [1, 8, "xxh64", 100, "refuse", "p", 10**15, 2, "f", "v"],
        [1, 8, "xxh64", 100, "refuse", "p", 1, 0, "f", "v"],
        [1, 8, "xxh64", 100, "refuse", "p", 1, "x", "f", "v"],
        [1, 8, "xxh64", 5000, "refuse", "p", 1, 1002, *["f"] * 1002],
        [1, 8, "xxh64", 5000, "refuse", "p", 1, *[2, "f", "v"] * 1001],
    ],
)
async def test_a_malformed_append_is_refused_and_writes_nothing(
    raw: Raw, args: list[str | int]
) -> None:
    await refused(raw, "BADARG", raw.call("append", KEYS, *args))


async def test_native_lag_follows_appends_commits_and_trims_alike(raw: Raw) -> None:
    epoch, ids = await ready(raw, 8)
    prev, done = "0-0", 0
    for sequence, step in enumerate((3, 1, 5, 2), 2):
        ids = ids if sequence == 2 else list(dict.fromkeys([*ids, *await raw.ids()]))
        following = ids[done + step - 1]
        await raw.commit(epoch, prev, following, step)
        prev, done = following, done + step
        await raw.append(sequence, 3, size=12)
        behind = [each for each in await raw.ids() if _number(each) > _number(prev)]
        assert await raw.lag() == len(behind)
    assert (await raw.claim(11, OTHER))["lost"] == -1


def _number(event: str) -> tuple[int, ...]:
    return tuple(map(int, event.split("-")))


HIGHEST = 2**64 - 1


@pytest.mark.parametrize("left", [0, 1, 2, 3])
@pytest.mark.parametrize("ms", [9_999_999_999_999, 2**53 + 7])
async def test_s5_an_append_goes_on_where_the_numbers_of_a_millisecond_end(
    raw: Raw, ms: int, left: int
) -> None:
    """Others made the last id, or only set it: it is there or not, all of the append lands."""
    await raw.append(1)
    await raw.redis.execute_command("XSETID", LOG, f"{ms}-{HIGHEST - left}")  # type: ignore[no-untyped-call]
    applied, first, count = await raw.append(2, 3)
    assert (applied, count) == (1, 3)
    assert await raw.append(2, 3) == [0, first, 3]
    places = [(ms, HIGHEST - left + 1 + i) for i in range(left)] + [(ms + 1, i) for i in range(3)]
    if left == 0:
        places = [(ms + 1, i) for i in range(3)]
    assert (await raw.ids())[1:] == [f"{a}-{b}" for a, b in places[:3]]
    assert appended_ids([1, first, 3]) == (await raw.ids())[1:]


async def test_s6_a_partition_remembers_at_least_the_last_1000_producers(raw: Raw) -> None:
    for i in range(1101):
        await raw.append(1, producer=f"p{i}", size=9_999)
    known: Any = await raw.redis.hkeys(PRODUCERS)
    assert {f"p{i}".encode() for i in range(100, 1101)} <= set(known)
    assert len(known) <= 1100
    assert (await raw.append(1, producer="p101", size=9_999))[0] == 0
    await refused(raw, "UNKNOWN_PRODUCER", raw.append(2, producer="p0", size=9_999))


async def test_s6_who_was_silent_for_longest_is_forgotten_even_if_ids_stand_still(
    raw: Raw,
) -> None:
    await raw.redis.execute_command("XADD", LOG, "9999999999999-0", "f", "v")  # type: ignore[no-untyped-call]
    for i in range(1099):
        await raw.append(1, producer=f"p{i}", size=9_999)
    await raw.append(2, producer="p0", size=9_999)
    for i in range(20):
        await raw.append(1, producer=f"new{i}", size=9_999)
        await raw.append(1, producer=f"other{i}", size=9_999)
        assert (await raw.append(1, producer=f"new{i}", size=9_999))[0] == 0, "its repeat"
    assert (await raw.append(2, producer="p0", size=9_999))[0] == 0, "it has sent since"


async def test_what_is_dropped_is_no_lag_from_then_on(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.call("register", [LOG, META, SECOND], 1, 8, "xxh64", "mailer", "0")
    await raw.commit(epoch, "0-0", ids[6], 7)
    await raw.append(2, 5, size=10, policy="drop_oldest")
    await raw.append(3, 4, size=10, policy="drop_oldest")
    groups: Any = await raw.redis.xinfo_groups(LOG)
    assert {each["name"]: each["lag"] for each in groups} == {b"printer": 10, b"mailer": 10}
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"]) == (1, 1)
    assert await _lag_of(raw, "printer") == 10, "a loss that is said once more is no lag again"
    assert (await raw.claim(11, OTHER, accept="1"))["lost"] == -1
    assert await _lag_of(raw, "printer") == 10


async def test_a_commit_of_what_was_dropped_meanwhile_makes_no_lag(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.append(2, 6, size=10, policy="drop_oldest")
    assert await _lag_of(raw, "printer") == 10
    await raw.commit(epoch, "0-0", ids[2], 3)
    assert await _lag_of(raw, "printer") == 10, "it was read before it was dropped"
    await raw.commit(epoch, ids[2], ids[6], 4)
    assert await _lag_of(raw, "printer") == 8


async def _lag_of(raw: Raw, name: str) -> int:
    groups: Any = await raw.redis.xinfo_groups(LOG)
    (lag,) = [each["lag"] for each in groups if each["name"] == name.encode()]
    return int(lag)
