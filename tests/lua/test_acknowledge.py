"""acknowledge: an operator has dealt with lost events."""

from __future__ import annotations

from tests.lua.conftest import STATE, Raw
from tests.lua.steps import ready, refused, repeated


async def acknowledged(raw: Raw) -> bytes | str | None:
    """The field that it writes."""
    (found,) = await raw.redis.hmget(STATE, ["lost_acknowledged"])
    return found


async def test_what_was_seen_is_acknowledged_and_no_more(raw: Raw) -> None:
    await ready(raw)
    assert await raw.call("acknowledge", [STATE], 5) == 0
    assert await acknowledged(raw) is None
    await raw.redis.hset(STATE, "lost", "7")
    assert await repeated(raw, "acknowledge", [STATE], 5) == (5, 0)
    assert await raw.call("acknowledge", [STATE], 3) == 0
    assert await acknowledged(raw) == b"5"
    # Two more were lost before the operator saw them.
    assert await raw.call("acknowledge", [STATE], 9) == 2
    assert await acknowledged(raw) == b"7"
    # The count of lost events stays.
    assert await raw.redis.hget(STATE, "lost") == b"7"


async def test_a_processor_that_is_not_registered_has_nothing_to_acknowledge(raw: Raw) -> None:
    await refused(raw, "UNREGISTERED", raw.call("acknowledge", [STATE], 1))
