"""park_again: a key whose replay failed stays parked, with its events in their order."""

from __future__ import annotations

import re

import pytest

from tests.lua.conftest import NONCE, OTHER, STATE, Raw
from tests.lua.parking import COUNTS, REPLAY, counts, park, parked, replayed
from tests.lua.parking import entry as entry_of
from tests.lua.steps import refused, repeated

KEYS = [STATE, COUNTS, REPLAY]
FAILURE = "7-0 4 ValueError no such account"


def without_times(found: tuple[dict[str, str], set[bytes]]) -> tuple[dict[str, str], set[bytes]]:
    """The counts, with T for the time of a failed replay."""
    return {key: re.sub(r"(\n\d+) \d+$", r"\1 T", each) for key, each in found[0].items()}, found[1]


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
    found = without_times(await counts(raw))
    assert found == ({"alice": f"1 {FAILURE}\n1 T", "bob": "1"}, {b"bob"})


async def test_it_is_known_how_many_replays_of_the_event_have_failed_and_when_the_last_did(
    raw: Raw,
) -> None:
    epoch, _, _ = await replaying(raw)
    for grant, nonce, failure, replays in (
        (12, "3" * 32, FAILURE, 1),
        (13, "4" * 32, "7-0 4 KeyError 'x'", 2),
        (14, "5" * 32, "8-0 1 KeyError 'x'", 1),
    ):
        seconds, micros = await raw.redis.time()
        await raw.call("park_again", KEYS, epoch, NONCE, "alice", failure)
        said, told = (await counts(raw))[0]["alice"].split("\n")
        number, at = map(int, told.split())
        assert (said, number) == (f"2 {failure}", replays), "of another event it is the first"
        assert at >= seconds * 1000 + micros // 1000
        await raw.call("replay", KEYS, nonce, "alice")
        epoch = (await raw.claim(grant))["epoch"]


async def test_the_count_and_the_failure_are_kept_apart(raw: Raw) -> None:
    epoch, ids, entries = await replaying(raw)
    await raw.call("park_again", KEYS, epoch, NONCE, "alice", FAILURE)
    await park(raw, epoch, ids[2], ids[3], entry_of("alice", ids[3]))
    assert without_times(await counts(raw))[0]["alice"] == f"3 {FAILURE}\n1 T"
    await raw.call("park_again", KEYS, epoch, NONCE, "bob", FAILURE)
    await raw.call("replay", KEYS, "3" * 32, "alice")
    epoch = (await raw.claim(12))["epoch"]
    await raw.call("park_again", KEYS, epoch, NONCE, "alice", "8-0 1 KeyError 'x'")
    assert without_times(await counts(raw))[0]["alice"] == "3 8-0 1 KeyError 'x'\n1 T"
    await replayed(raw, epoch, ids[3], entries[1])
    assert "bob" not in (await counts(raw))[0]


async def test_the_failure_is_none_of_the_event_at_the_checkpoint_any_more(raw: Raw) -> None:
    epoch, _, _ = await replaying(raw)
    event = FAILURE.split()[0]
    failed = epoch, NONCE, "failure", event, 4, "KeyError", "x"
    await raw.call("attempt", [STATE], *failed)
    await raw.call("park_again", KEYS, epoch, NONCE, "alice", FAILURE)
    assert await raw.redis.hmget(STATE, ["event", "attempts", "error_type"]) == [b"", b"0", None]


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
