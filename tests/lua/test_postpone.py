"""postpone: a postponed event that fails again is due later, or stays parked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import ASIDE, NONCE, OTHER, PARKED, POSTPONED, STATE, Raw
from tests.lua.parking import COUNTS, EVENTS
from tests.lua.postponing import FAILURE, due, key_of, postponed
from tests.lua.steps import refused, repeated

KEYS = [STATE, *ASIDE]


async def _postpone(raw: Raw, epoch: int, entry: str, ms: int | str, failure: str = FAILURE) -> Any:
    return await raw.call("postpone", KEYS, epoch, NONCE, entry, ms, failure)


async def test_it_is_due_later_and_its_failure_is_known(raw: Raw) -> None:
    epoch, ids, (first, second) = await postponed(raw, 0)
    args = (epoch, NONCE, first, 60_000, FAILURE)
    assert await repeated(raw, "postpone", KEYS, *args) == (1, 0)
    _, _, found = await due(raw)
    assert [entry for entry, _, _ in found] == [second]
    assert await raw.redis.hget(COUNTS, key_of(ids[0])) == f"1 {FAILURE}".encode()
    stored = await raw.redis.hmget(STATE, ["parked", "parked_keys", "postponed"])
    assert stored == [b"2", b"2", b"2"]


async def test_a_repeat_that_comes_when_it_is_due_again_only_makes_it_later(raw: Raw) -> None:
    epoch, _, (first, _) = await postponed(raw, 0)
    assert await _postpone(raw, epoch, first, 0) == 1
    assert await _postpone(raw, epoch, first, 0) == 1
    assert len((await due(raw))[2]) == 2


async def test_without_a_time_it_stays_parked_and_is_due_no_more(raw: Raw) -> None:
    epoch, _, (first, second) = await postponed(raw, 0)
    assert await repeated(raw, "postpone", KEYS, epoch, NONCE, first, "", FAILURE) == (1, 0)
    assert [entry for entry, _, _ in (await due(raw))[2]] == [second]
    assert await raw.redis.xlen(EVENTS) == 2
    await _postpone(raw, epoch, second, "")
    assert await raw.redis.hmget(STATE, ["postponed", "postponed_due"]) == [None, None]
    assert await raw.redis.exists(POSTPONED) == 0


async def test_one_that_was_replayed_is_replayed_no_further(raw: Raw) -> None:
    _, ids, (first, _) = await postponed(raw, 60_000)
    await raw.call("replay", [STATE, *PARKED[1:]], OTHER, key_of(ids[0]))
    claimed = await raw.claim(12)
    assert claimed["replay"] == 1
    assert await _postpone(raw, claimed["epoch"], first, 5000) == 1
    args = (claimed["epoch"], NONCE, first, 5000, FAILURE)
    assert await raw.call("postpone", KEYS, *args) == 0, "a repeat is recognised"
    value: Any = await raw.redis.hget(COUNTS, key_of(ids[0]))
    assert value.startswith(f"1 {FAILURE}\n1 ".encode()), "one replay has failed"
    assert await _postpone(raw, claimed["epoch"], first, 6000, f"{FAILURE}!") == 1
    later: Any = await raw.redis.hget(COUNTS, key_of(ids[0]))
    assert later == value.replace(b"\n", b"!\n"), "another try of it is no replay"
    assert (await raw.claim(13, OTHER))["replay"] == 0


async def test_the_state_keeps_no_failure_of_it(raw: Raw) -> None:
    epoch, ids, (first, _) = await postponed(raw, 0)
    failed = (epoch, NONCE, "failure", ids[0], 2, "ValueError", "no")
    await raw.call("attempt", [STATE], *failed)
    await _postpone(raw, epoch, first, 5000, f"{ids[0]} 2 ValueError no")
    assert await raw.redis.hmget(STATE, ["event", "attempts", "error_type"]) == [b"", b"0", None]


async def test_an_entry_that_is_gone_is_left_alone(raw: Raw) -> None:
    epoch, _, _ = await postponed(raw, 0)
    before = await raw.dump()
    assert await _postpone(raw, epoch, "9-9", 0) == 0
    assert await raw.dump() == before


async def test_s1_an_old_token_is_fenced(raw: Raw) -> None:
    epoch, _, (first, _) = await postponed(raw, 0)
    await raw.claim(12, OTHER)
    await refused(raw, "FENCED", _postpone(raw, epoch, first, 0))


@pytest.mark.parametrize(
    ("ms", "failure"),
    [
        *(("x", FAILURE), ("-1", FAILURE), ("1.5", FAILURE), (31_622_400_001, FAILURE)),
        *((5, ""), (5, "7-0"), (5, "7-0 x E"), (5, f"{FAILURE}{'!' * 1200}")),
    ],
)
async def test_a_malformed_call_writes_nothing(raw: Raw, ms: int | str, failure: str) -> None:
    epoch, _, (first, _) = await postponed(raw, 0)
    await refused(raw, "BADARG", _postpone(raw, epoch, first, ms, failure))
    await refused(raw, "BADARG", _postpone(raw, epoch, "first", 5))
    await refused(raw, "BADARG", raw.call("postpone", KEYS[:4], epoch, NONCE, first, 5, FAILURE))
