"""append_numbered: each event of a numbered sender at most once, whatever is repeated with it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.lua.conftest import ASIDE, DELETED, LOG, META, NUMBERS, OUTBOX, STATE, Raw
from tests.lua.steps import ready, refused

#: The largest sequence number that an id can have.
HIGHEST = 2**64 - 1


async def bodies(raw: Raw) -> list[str]:
    """What the events carry: their numbers."""
    entries: Any = await raw.redis.xrange(LOG)
    return [fields[b"msgpack"].decode() for _, fields in entries]


async def test_s3_the_events_of_one_call_keep_their_order(raw: Raw) -> None:
    added, first, count, last = await raw.append_numbered(range(1, 1001), size=2000)
    assert (added, count, last) == (1000, 1000, "0-1000")
    ms, seq = first.split("-")
    assert await raw.ids() == [f"{ms}-{int(seq) + i}" for i in range(1000)]
    assert await bodies(raw) == [f"0-{i}" for i in range(1, 1001)]


async def test_s5_a_first_call_declares_the_partition(raw: Raw) -> None:
    await raw.append_numbered([1])
    assert await raw.redis.hgetall(META) == {
        b"protocol": b"1",
        b"partitions": b"8",
        b"hash": b"xxh64",
    }


async def test_s6_a_repeat_says_what_the_first_call_did_and_writes_nothing(raw: Raw) -> None:
    one = await raw.append_numbered([1])
    two = await raw.append_numbered([2, 5, 9])
    before = await raw.dump()
    assert await raw.append_numbered([2, 5, 9]) == [0, *two[1:]]
    assert await raw.append_numbered([1]) == [0, "", 0, "0-9"], "its id is forgotten by now"
    assert await raw.dump() == before
    assert one[:1] + one[2:] == [1, 1, "0-1"]


async def test_s6_only_the_newer_events_of_a_call_are_added_and_the_others_have_no_id(
    raw: Raw,
) -> None:
    await raw.append_numbered([1, 2, 3])
    added, first, count, last = await raw.append_numbered([2, 3, 4, 5])
    assert (added, count, last) == (2, 2, "0-5")
    assert (await raw.ids())[3] == first
    again = await raw.append_numbered([2, 3, 4, 5])
    assert again == [0, first, 2, "0-5"], "the repeat of a call of which a part was there"
    assert await raw.append_numbered([1, 2, 3, 4, 5]) == again, "it ends with the last append"
    assert await raw.append_numbered([4, 5]) == again, "it is the last append"
    for other in ([5], [3, 5], [4], [1, 4]):
        assert await raw.append_numbered(other) == [0, "", 0, "0-5"]
    assert await bodies(raw) == [f"0-{i}" for i in range(1, 6)]


@pytest.mark.parametrize("seed", range(5))
async def test_s6_any_batching_of_a_repeat_is_recognised(raw: Raw, seed: int) -> None:
    """As a sender that dies at any moment, and begins again somewhere before that."""
    rng, numbers, at = random.Random(seed), [f"{i // 40}-{i % 40}" for i in range(100)], 0
    while at < len(numbers):
        batch = numbers[at : at + rng.randint(1, 30)]
        await raw.append_numbered(batch, sender="outbox:orders:3:printer")
        at = rng.randint(0, at) if rng.random() < 0.5 else at + len(batch)
    assert await bodies(raw) == numbers


async def test_s6_numbers_are_compared_as_pairs_of_integers_of_any_size(raw: Raw) -> None:
    large = 10**19
    for newer in ("0-2", "0-10", "1-0", f"{2**53}-1", f"{2**53 + 1}-0", f"{large}-{large}"):
        assert (await raw.append_numbered([newer]))[0] == 1, newer
        assert (await raw.append_numbered([newer]))[0] == 0, newer
    for older in ("0-2", "00-0011", f"{2**53}-{large}", f"{large}-{large - 1}"):
        assert (await raw.append_numbered([older]))[0] == 0, older


async def test_each_sender_has_its_own_numbers(raw: Raw) -> None:
    for sender in ("producer:p", "producer:q", "outbox:p", "producer:p:1", "producer: "):
        assert (await raw.append_numbered([1], sender=sender))[0] == 1
        assert (await raw.append_numbered([1], sender=sender))[0] == 0
    assert (await raw.append(1))[0] == 1, "nor is it the producer p of append"


@pytest.mark.parametrize("left", [0, 1, 2, 3])
async def test_s5_a_call_continues_in_the_next_millisecond_where_sequence_numbers_end(
    raw: Raw, left: int
) -> None:
    ms = 9_999_999_999_999
    await raw.append_numbered([1])
    await raw.redis.execute_command("XSETID", LOG, f"{ms}-{HIGHEST - left}")  # type: ignore[no-untyped-call]
    added = await raw.append_numbered([1, 2, 3, 4])
    ids = [f"{ms}-{HIGHEST - left + 1 + i}" for i in range(left)] + [
        f"{ms + 1}-{i}" for i in (0, 1, 2)
    ]
    assert (await raw.ids())[1:] == ids[:3]
    assert added == [3, ids[0], 3, "0-4"]
    assert await raw.append_numbered([1, 2, 3, 4]) == [0, *added[1:]]


async def test_s6_a_repeat_is_known_although_the_partition_is_full_now(raw: Raw) -> None:
    first = await raw.append_numbered([1, 2, 3, 4], size=5)
    await raw.append(1, 1, size=5)
    assert await raw.append_numbered([1, 2, 3, 4], size=5) == [0, *first[1:]]
    await refused(raw, "FULL", raw.append_numbered([4, 5], size=5))
    assert (await raw.append_numbered([4], size=5))[0] == 0, "5 is not remembered"


async def test_only_events_that_are_new_need_room(raw: Raw) -> None:
    await raw.append_numbered([1, 2, 3], size=5)
    assert (await raw.append_numbered([1, 2, 3, 4], size=5))[0] == 1
    assert (await raw.append_numbered([2, 3, 4, 5], size=5))[0] == 1


async def test_s4_retention_removes_only_committed_events_and_a_refusal_names_the_processor(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 9)
    said = await refused(raw, "FULL", raw.append_numbered(range(5), size=10))
    assert "processor=printer" in said
    await raw.commit(epoch, "0-0", ids[5], 6)
    assert (await raw.append_numbered(range(5), size=10))[0] == 5
    assert (await raw.ids())[0] == ids[4], "no more than needed"


async def test_drop_oldest_counts_what_is_dropped_once(raw: Raw) -> None:
    await ready(raw, 9)
    for added in (5, 0):
        reply = await raw.append_numbered(range(5), size=10, when_full="drop_oldest")
        assert reply[0] == added
        assert await raw.redis.hget(META, "dropped:printer") == b"4"
    assert len(await raw.ids()) == 10


async def test_a_call_with_another_protocol_count_or_hash_is_a_mismatch(raw: Raw) -> None:
    await raw.append(1)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        send = ("refuse", "producer:p", "0-1", 2, "f", "v")
        call = raw.call("append_numbered", [LOG, META, NUMBERS], *seen, 100, *send)
        await refused(raw, "MISMATCH", call)


async def test_a_sender_learns_that_the_stream_was_deleted_and_its_numbers_are_forgotten(
    raw: Raw,
) -> None:
    await ready(raw)
    await raw.append_numbered([1])
    await raw.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")
    await raw.call("delete", DELETED)
    assert "deleted=" in await refused(raw, "MISSING", raw.append_numbered([2]))
    await raw.call("declare", [META], 1, 8, "xxh64")
    assert (await raw.append_numbered([1]))[0] == 1, "it is another stream of that name"


async def test_s6_a_partition_remembers_the_last_1000_producers_and_at_most_1100(raw: Raw) -> None:
    for i in range(1101):
        await raw.append_numbered([7], sender=f"producer:{i}", size=9_999)
    known: Any = await raw.redis.hkeys(NUMBERS)
    assert {f"producer:{i}".encode() for i in range(100, 1101)} <= set(known)
    assert len(known) <= 1100
    assert (await raw.append_numbered([7], sender="producer:101", size=9_999))[0] == 0


async def test_s6_the_producer_with_the_oldest_append_is_forgotten_whatever_the_clock_says(
    raw: Raw,
) -> None:
    await raw.redis.execute_command("XADD", LOG, "9999999999999-0", "f", "v")  # type: ignore[no-untyped-call]
    for i in range(1099):
        await raw.append_numbered([1], sender=f"producer:{i}", size=9_999)
    await raw.append_numbered([2], sender="producer:0", size=9_999)
    for i in range(20):
        await raw.append_numbered([1], sender=f"producer:new{i}", size=9_999)
        repeat = await raw.append_numbered([1], sender=f"producer:new{i}", size=9_999)
        assert repeat[0] == 0
    assert (await raw.append_numbered([2], sender="producer:0", size=9_999))[0] == 0
    assert (await raw.append_numbered([1], sender="producer:1", size=9_999))[0] == 1, "the oldest"


async def test_s6_outboxes_are_never_forgotten(raw: Raw) -> None:
    senders = {f"outbox:{i}": f"0-7 {1_600_000_000_000 + i}-0 1 0-7" for i in range(2000)}
    await raw.redis.hset(NUMBERS, mapping=senders)  # type: ignore[arg-type]
    known = {f"producer:{i}": f"0-7 {1_700_000_000_000 + i}-0 1 0-7" for i in range(1099)}
    await raw.redis.hset(NUMBERS, mapping=known)  # type: ignore[arg-type]
    await raw.append_numbered([1], sender="outbox:new")
    assert await raw.redis.hlen(NUMBERS) == 3100
    await raw.append_numbered([1], sender="producer:new0")
    assert await raw.redis.hlen(NUMBERS) == 3101, "there are 1,100 producers"
    await raw.append_numbered([1], sender="producer:new1")
    assert await raw.redis.hlen(NUMBERS) == 3002
    left: Any = await raw.redis.hkeys(NUMBERS)
    assert {each.encode() for each in senders} <= set(left)
    assert {f"producer:{i}".encode() for i in range(100, 1099)} <= set(left)


async def test_s5_a_memory_that_cannot_be_read_is_not_taken_for_none(raw: Raw) -> None:
    await raw.append_numbered([1])
    await raw.redis.hset(NUMBERS, "producer:p", "junk")
    assert "stored=junk" in await refused(raw, "BADARG", raw.append_numbered([2]))
