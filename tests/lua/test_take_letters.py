"""take_letters: dead letters leave their stream, and their events are replayed or dropped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import OTHER, PARKED, STATE, Raw
from tests.lua.parking import counts, entries_of, entry
from tests.lua.steps import SINK_LOG, SINK_META, emit, ready, refused, repeated

KEYS = [SINK_LOG, SINK_META, STATE, *PARKED]
READER = [SINK_LOG, SINK_META, SINK_META.replace(":meta", ":processor:undertaker")]


async def dead(raw: Raw) -> tuple[int, list[str], list[str]]:
    """Two events became dead letters: the epoch, the ids of the log, and those of the letters."""
    epoch, ids = await ready(raw)
    await emit(raw, epoch, "0-0", ids[0])
    await emit(raw, epoch, ids[0], ids[1])
    found: Any = await raw.redis.xrange(SINK_LOG)
    return epoch, ids, [each.decode() for each, _ in found]


async def test_s5_a_letter_becomes_a_parked_event_that_is_replayed(raw: Raw) -> None:
    epoch, ids, (first, second) = await dead(raw)
    call = (OTHER, 10, first, *entry("alice", ids[0], "one"))
    assert await repeated(raw, "take_letters", KEYS, *call) == (1, 0)
    assert await counts(raw) == ({"alice": "1"}, {b"alice"})
    left: Any = await raw.redis.xrange(SINK_LOG)
    assert [each.decode() for each, _ in left] == [second]
    await refused(raw, "FENCED", raw.commit(epoch, ids[1], ids[2], 1))
    found = await raw.claim(11)
    assert (found["parked"], found["replay"], found["unclean_tenures"]) == (1, 1, 0)


async def test_letters_that_are_dropped_fence_nobody(raw: Raw) -> None:
    epoch, ids, letters = await dead(raw)
    call = (OTHER, 10, letters[0], 0, letters[1], 0)
    assert await repeated(raw, "take_letters", KEYS, *call) == (2, 0)
    assert await raw.redis.xlen(SINK_LOG) == 0
    assert await entries_of(raw) == []
    await raw.commit(epoch, ids[1], ids[2], 1)


async def test_s4_a_letter_that_a_registered_reader_has_not_passed_stays(raw: Raw) -> None:
    _, _, (first, second) = await dead(raw)
    await raw.call("register", READER, 1, 8, "xxh64", "undertaker", "0")
    said = await refused(raw, "CONFLICT", raw.call("take_letters", KEYS, OTHER, 10, first, 0))
    assert "processor=undertaker checkpoint=0-0" in said
    (epoch, *_) = await raw.call(
        "claim", READER, 1, 8, "xxh64", "undertaker", "me", 5, "3" * 32, ""
    )
    step = ("undertaker", epoch, "3" * 32, "0-0", first, 1, 0)
    await raw.call("commit", READER, *step)
    taken = raw.call("take_letters", KEYS, OTHER, 10, first, 0, second, 0)
    await refused(raw, "CONFLICT", taken)
    assert await raw.call("take_letters", KEYS, OTHER, 10, first, 0) == 1
    (group,) = await raw.redis.xinfo_groups(SINK_LOG)
    assert group["lag"] == 1
    again = await raw.call("claim", READER, 1, 8, "xxh64", "undertaker", "me", 6, OTHER, "")
    assert again[8] == -1, "nothing was lost"


async def test_without_room_the_letters_stay(raw: Raw) -> None:
    _, ids, (first, second) = await dead(raw)
    call = (first, *entry("alice", ids[0]), second, *entry("alice", ids[1]))
    said = await refused(raw, "FULL", raw.call("take_letters", KEYS, OTHER, 1, *call))
    assert f"limit=1 sink={PARKED[0]}" in said
    assert await raw.call("take_letters", KEYS, OTHER, 2, *call) == 2


async def test_a_processor_that_is_not_registered_replays_nothing(raw: Raw) -> None:
    _, ids, (first, _) = await dead(raw)
    names = [SINK_LOG, SINK_META, *(each.replace("printer", "gone") for each in (STATE, *PARKED))]
    call = (OTHER, 10, first, *entry("alice", ids[0]))
    await refused(raw, "UNREGISTERED", raw.call("take_letters", names, *call))
    assert await raw.call("take_letters", names, OTHER, 10, first, 0) == 1
    assert await raw.redis.exists(names[2]) == 0


@pytest.mark.parametrize(
    "args",
    [
        [OTHER, 10],
        ["short", 10, "1-0", 0],
        [OTHER, 0, "1-0", 0],
        [OTHER, 10, "x", 0],
        [OTHER, 10, "1-0", 1, "key"],
        [OTHER, 10, "1-0", 4, "key", "k"],
        [OTHER, 10, "1-0", 2, "event", "k"],
        [OTHER, 10, "1-0", 0, "1-0", 0],
        [OTHER, 10, *[x for i in range(101) for x in (f"{i}-0", 0)]],
    ],
)
async def test_a_malformed_call_writes_nothing(raw: Raw, args: list[str | int]) -> None:
    await dead(raw)
    await refused(raw, "BADARG", raw.call("take_letters", KEYS, *args))
