"""append: order, repeats, limits, retention and what a full partition may drop."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.protocol import appended_ids
from runnel.protocol.ids import parts
from tests.lua.conftest import ASIDE, LOG, META, OTHER, OUTBOX, PRODUCERS, Raw
from tests.lua.steps import lag_of, ready, refused

KEYS = [LOG, META, PRODUCERS]
SECOND = f"{LOG.removesuffix(':log')}:processor:mailer"
#: The largest sequence number that an id can have.
HIGHEST = 2**64 - 1


async def test_s3_events_of_one_append_keep_their_order_and_share_the_first_part_of_their_ids(
    raw: Raw,
) -> None:
    applied, first, count = await raw.append(1, 1000, size=2000)
    assert (applied, count) == (1, 1000)
    ms, seq = first.split("-")
    assert await raw.ids() == [f"{ms}-{int(seq) + i}" for i in range(1000)]
    entries: Any = await raw.redis.xrange(LOG, count=1)
    assert entries[0][1] == {b"msgpack": b"1.0"}


@pytest.mark.parametrize("left", [0, 1, 2, 3])
@pytest.mark.parametrize("ms", [9_999_999_999_999, 2**53 + 7])
async def test_s5_an_append_continues_in_the_next_millisecond_where_sequence_numbers_end(
    raw: Raw, ms: int, left: int
) -> None:
    """Somebody else has set the last id: the whole append is applied all the same."""
    await raw.append(1)
    await raw.redis.execute_command("XSETID", LOG, f"{ms}-{HIGHEST - left}")  # type: ignore[no-untyped-call]
    applied, first, count = await raw.append(2, 3)
    assert (applied, count) == (1, 3)
    assert await raw.append(2, 3) == [0, first, 3]
    ids = [(ms, HIGHEST - left + 1 + i) for i in range(left)] + [(ms + 1, i) for i in range(3)]
    if left == 0:
        ids = [(ms + 1, i) for i in range(3)]
    assert (await raw.ids())[1:] == [f"{a}-{b}" for a, b in ids[:3]]
    assert appended_ids([1, first, 3]) == (await raw.ids())[1:]


async def test_s6_the_last_append_of_a_producer_can_be_repeated_and_gaps_are_refused(
    raw: Raw,
) -> None:
    await raw.append(1)
    second = await raw.append(2)
    before = await raw.dump()
    assert await raw.append(2) == [0, *second[1:]]
    assert await raw.dump() == before
    await refused(raw, "UNKNOWN_PRODUCER", raw.append(7, producer="stranger"))
    assert "last=2 given=1" in await refused(raw, "OUTOFORDER", raw.append(1))
    assert "last=2 given=4" in await refused(raw, "OUTOFORDER", raw.append(4))
    assert (await raw.append(1, producer="q"))[0] == 1, "each producer has its own numbers"


async def test_s6_an_append_can_be_repeated_although_the_partition_is_full_now(raw: Raw) -> None:
    first = await raw.append(1, 4, size=5)
    await raw.append(1, 1, producer="q", size=5)
    assert await raw.append(1, 4, size=5) == [0, *first[1:]]
    await refused(raw, "FULL", raw.append(2, 1, size=5))


async def test_s6_a_partition_remembers_the_last_1000_producers_and_at_most_1100(raw: Raw) -> None:
    for i in range(1101):
        await raw.append(1, producer=f"p{i}", size=9_999)
    known: Any = await raw.redis.hkeys(PRODUCERS)
    assert {f"p{i}".encode() for i in range(100, 1101)} <= set(known)
    assert len(known) <= 1100
    assert (await raw.append(1, producer="p101", size=9_999))[0] == 0
    await refused(raw, "UNKNOWN_PRODUCER", raw.append(2, producer="p0", size=9_999))


async def test_s6_the_producer_with_the_oldest_append_is_forgotten_whatever_the_clock_says(
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


async def test_an_append_with_another_protocol_count_or_hash_is_a_mismatch(raw: Raw) -> None:
    await raw.append(1)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        call = raw.call("append", KEYS, *seen, 100, "refuse", "p", 2, 2, "f", "v")
        await refused(raw, "MISMATCH", call)


async def test_s4_retention_removes_only_committed_events_and_a_refusal_names_the_processor(
    raw: Raw,
) -> None:
    await raw.append(1, 9)
    assert "processor= " in await refused(raw, "FULL", raw.append(2, 5, size=10))
    await raw.redis.flushall()
    epoch, ids = await ready(raw, 9)
    said = await refused(raw, "FULL", raw.append(2, 5, size=10))
    assert "processor=printer" in said
    await raw.commit(epoch, "0-0", ids[5], 6)
    await raw.append(2, 5, size=10)
    assert (await raw.ids())[0] == ids[4], "no more than needed; the checkpoint's own entry stays"
    await raw.redis.xgroup_destroy(LOG, "printer")
    assert "group=missing" in await refused(raw, "FULL", raw.append(3, 5, size=10))


async def test_s4_a_full_partition_names_the_slowest_processor(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.call("register", [LOG, META, SECOND], 1, 8, "xxh64", "mailer", "0")
    await raw.commit(epoch, "0-0", ids[8], 9)
    said = await refused(raw, "FULL", raw.append(2, 5, size=10))
    assert "processor=mailer" in said
    assert "checkpoint=0-0" in said
    await raw.call(
        "remove", [LOG, META, SECOND, OUTBOX.replace("printer", "mailer"), *ASIDE], "mailer"
    )
    assert (await raw.append(2, 5, size=10))[0] == 1, "it is removed"


async def test_drop_oldest_drops_nothing_while_there_is_room(raw: Raw) -> None:
    _, ids = await ready(raw, 5)
    await raw.append(2, 5, size=10, when_full="drop_oldest")
    assert (await raw.ids())[:5] == ids
    assert await raw.redis.hget(META, "dropped:printer") is None


async def test_drop_oldest_counts_for_each_processor_what_it_had_not_committed(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.call("register", [LOG, META, SECOND], 1, 8, "xxh64", "mailer", "$")
    await raw.commit(epoch, "0-0", ids[1], 2)
    first = await raw.append(2, 5, size=10, when_full="drop_oldest")
    before = await raw.dump()
    assert await raw.append(2, 5, size=10, when_full="drop_oldest") == [0, *first[1:]]
    assert await raw.dump() == before, "a repeat drops and counts nothing"
    assert await raw.redis.hget(META, "dropped:printer") == b"2"
    assert await raw.redis.hget(META, "dropped:mailer") is None
    assert len(await raw.ids()) == 10


async def test_dropped_events_are_no_lag(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.call("register", [LOG, META, SECOND], 1, 8, "xxh64", "mailer", "0")
    await raw.commit(epoch, "0-0", ids[6], 7)
    await raw.append(2, 5, size=10, when_full="drop_oldest")
    await raw.append(3, 4, size=10, when_full="drop_oldest")
    groups: Any = await raw.redis.xinfo_groups(LOG)
    assert {each["name"]: each["lag"] for each in groups} == {b"printer": 10, b"mailer": 10}
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"]) == (1, 1)
    assert await lag_of(raw, "printer") == 10, "a reported loss is no lag again"
    assert (await raw.claim(11, OTHER, accept="1"))["lost"] == -1
    assert await lag_of(raw, "printer") == 10


async def test_the_lag_of_the_consumer_group_is_exact_after_appends_commits_and_trims(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 8)
    prev, done = "0-0", 0
    for sequence, step in enumerate((3, 1, 5, 2), 2):
        ids = ids if sequence == 2 else list(dict.fromkeys([*ids, *await raw.ids()]))
        next_id = ids[done + step - 1]
        await raw.commit(epoch, prev, next_id, step)
        prev, done = next_id, done + step
        await raw.append(sequence, 3, size=12)
        behind = [each for each in await raw.ids() if parts(each) > parts(prev)]
        assert await raw.lag() == len(behind)
    assert (await raw.claim(11, OTHER))["lost"] == -1
