"""drop_parked: parked events are deleted, and the owner, who does not know, is fenced."""

from __future__ import annotations

import pytest

from tests.lua.conftest import ASIDE, OTHER, PARKED, STATE, Raw
from tests.lua.parking import counts, entries_of, entry, park, parked
from tests.lua.steps import refused, repeated

KEYS = [STATE, *ASIDE]


async def test_one_event_is_dropped_and_the_others_of_its_key_stay(raw: Raw) -> None:
    epoch, ids, (first, second, third) = await parked(raw)
    assert await repeated(raw, "drop_parked", KEYS, OTHER, first, first, "9-9") == (1, 0)
    assert await counts(raw) == ({"alice": "1", "bob": "1"}, set())
    assert await entries_of(raw) == [second, third]
    await refused(raw, "FENCED", park(raw, epoch, ids[2], ids[3], entry("alice", ids[3])))


async def test_with_its_last_event_a_key_is_not_parked_and_not_replayed(raw: Raw) -> None:
    _, _, entries = await parked(raw)
    await raw.call("replay", [STATE, *PARKED[1:]], "3" * 32, "alice", "bob")
    assert await raw.call("drop_parked", KEYS, OTHER, *entries) == 3
    assert await counts(raw) == ({}, set())
    assert (await raw.claim(11))["unclean_tenures"] == 0


async def test_events_that_are_gone_fence_nobody(raw: Raw) -> None:
    epoch, ids, entries = await parked(raw)
    before = await raw.dump()
    assert await raw.call("drop_parked", KEYS, OTHER, "9-9") == 0
    assert await raw.dump() == before
    await raw.commit(epoch, ids[2], ids[3], 1)
    assert await raw.call("drop_parked", KEYS, OTHER, entries[0]) == 1


@pytest.mark.parametrize("args", [[OTHER], ["short", "1-0"], [OTHER, "x"], [OTHER, *["1-0"] * 101]])
async def test_a_malformed_call_writes_nothing(raw: Raw, args: list[str]) -> None:
    await parked(raw)
    await refused(raw, "BADARG", raw.call("drop_parked", KEYS, *args))
