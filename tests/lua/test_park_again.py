"""park_again: a key whose replay failed stays parked, with its events in their order."""

from __future__ import annotations

import pytest

from tests.lua.conftest import NONCE, OTHER, STATE, Raw
from tests.lua.parking import COUNTS, REPLAY, counts, park, parked, replayed
from tests.lua.parking import entry as entry_of
from tests.lua.steps import refused, repeated

KEYS = [STATE, COUNTS, REPLAY]
FAILURE = "7-0 4 ValueError no such account"


async def replaying(raw: Raw) -> tuple[int, list[str], list[str]]:
    """Parked events of alice, claimed for their replay."""
    _, ids, entries = await parked(raw)
    await raw.call("replay", KEYS, OTHER, "alice", "bob")
    return (await raw.claim(11))["epoch"], ids, entries


async def test_the_key_stays_parked_with_all_its_events_and_is_replayed_no_further(
    raw: Raw,
) -> None:
    epoch, ids, entries = await replaying(raw)
    await replayed(raw, epoch, ids[2], entries[0])
    assert await repeated(raw, "park_again", KEYS, epoch, NONCE, "alice", FAILURE) == (1, 0)
    assert await counts(raw) == ({"alice": f"1 {FAILURE}", "bob": "1"}, {b"bob"})


async def test_the_count_and_the_failure_are_kept_apart(raw: Raw) -> None:
    epoch, ids, entries = await replaying(raw)
    await raw.call("park_again", KEYS, epoch, NONCE, "alice", FAILURE)
    await park(raw, epoch, ids[2], ids[3], entry_of("alice", ids[3]))
    assert (await counts(raw))[0]["alice"] == f"3 {FAILURE}"
    await raw.call("park_again", KEYS, epoch, NONCE, "bob", FAILURE)
    await raw.call("replay", KEYS, "3" * 32, "alice")
    epoch = (await raw.claim(12))["epoch"]
    await raw.call("park_again", KEYS, epoch, NONCE, "alice", "8-0 1 KeyError 'x'")
    assert (await counts(raw))[0]["alice"] == "3 8-0 1 KeyError 'x'"
    await replayed(raw, epoch, ids[3], entries[1])
    assert "bob" not in (await counts(raw))[0]


async def test_a_key_that_is_not_replayed_is_left_alone(raw: Raw) -> None:
    epoch, _, _ = await replaying(raw)
    before = await raw.dump()
    assert await raw.call("park_again", KEYS, epoch, NONCE, "carol", FAILURE) == 0
    assert await raw.dump() == before


async def test_s1_an_old_token_is_fenced(raw: Raw) -> None:
    epoch, _, _ = await replaying(raw)
    await raw.claim(12, OTHER)
    await refused(raw, "FENCED", raw.call("park_again", KEYS, epoch, NONCE, "alice", FAILURE))


@pytest.mark.parametrize("failure", ["", "7-0", "7-0 x ValueError", f"{FAILURE}{'!' * 1200}"])
async def test_a_malformed_call_writes_nothing(raw: Raw, failure: str) -> None:
    epoch, _, _ = await replaying(raw)
    await refused(raw, "BADARG", raw.call("park_again", KEYS, epoch, NONCE, "alice", failure))
