"""replay: keys are chosen for their replay, and the owner, who does not know, is fenced."""

from __future__ import annotations

import pytest

from tests.lua.conftest import OTHER, STATE, Raw
from tests.lua.parking import COUNTS, REPLAY, counts, entry, park, parked, replayed
from tests.lua.steps import ready, refused, repeated

KEYS = [STATE, COUNTS, REPLAY]


async def test_the_next_claim_learns_of_the_replay_and_the_last_owner_is_fenced(raw: Raw) -> None:
    epoch, ids, _ = await parked(raw)
    assert await repeated(raw, "replay", KEYS, OTHER, "alice", "nobody") == (1, 0)
    assert await counts(raw) == ({"alice": "2", "bob": "1"}, {b"alice"})
    await refused(raw, "FENCED", park(raw, epoch, ids[2], ids[3], entry("alice", ids[3])))
    found = await raw.claim(11)
    assert (found["parked"], found["replay"], found["unclean_tenures"]) == (3, 1, 0)


async def test_s6_a_repeat_is_recognised_when_the_replay_is_over(raw: Raw) -> None:
    _, ids, entries = await parked(raw)
    await raw.call("replay", KEYS, OTHER, "bob")
    epoch = (await raw.claim(11))["epoch"]
    await replayed(raw, epoch, ids[2], entries[1])
    await park(raw, epoch, ids[2], ids[3], entry("bob", ids[3]))
    before = await raw.dump()
    assert await raw.call("replay", KEYS, OTHER, "bob") == 0
    assert await raw.dump() == before


async def test_a_key_that_is_replayed_already_fences_nobody(raw: Raw) -> None:
    await parked(raw)
    await raw.call("replay", KEYS, OTHER, "alice")
    epoch, ids = (await raw.claim(11))["epoch"], await raw.ids()
    before = await raw.dump()
    assert await raw.call("replay", KEYS, "3" * 32, "alice", "nobody") == 0
    assert await raw.dump() == before
    await raw.commit(epoch, ids[2], ids[3], 1)


async def test_a_key_leaves_with_its_last_event(raw: Raw) -> None:
    _, ids, entries = await parked(raw)
    await raw.call("replay", KEYS, OTHER, "alice")
    epoch = (await raw.claim(11))["epoch"]
    await replayed(raw, epoch, ids[2], entries[0])
    assert await counts(raw) == ({"alice": "1", "bob": "1"}, {b"alice"})
    await replayed(raw, epoch, ids[2], entries[2])
    assert await counts(raw) == ({"bob": "1"}, set())


async def test_a_processor_without_parked_events_is_left_alone(raw: Raw) -> None:
    await ready(raw)
    before = await raw.dump()
    assert await raw.call("replay", KEYS, OTHER, "alice") == 0
    assert await raw.dump() == before


@pytest.mark.parametrize("args", [[OTHER], ["short", "alice"], [OTHER, *["k"] * 501]])
async def test_a_malformed_call_writes_nothing(raw: Raw, args: list[str]) -> None:
    await parked(raw)
    await refused(raw, "BADARG", raw.call("replay", KEYS, *args))
