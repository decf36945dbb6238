"""tick: cron instants."""

from __future__ import annotations

from tests.lua.conftest import Raw
from tests.lua.steps import refused, repeated

TICKS = "runnel:{shop}:ticks"
DAILY = "0 2 * * * UTC"


async def record_schedule(raw: Raw, schedule: str = DAILY) -> int:
    """Record the schedule of the task "t". Returns since when it counts, or the last instant."""
    assert await repeated(raw, "tick", [TICKS], "t", 0, "x", schedule) == ([0, 0], [0, 0])
    stored = await raw.redis.hget(TICKS, "t")
    assert stored is not None
    return int(stored.split()[0])


async def test_l6_an_instant_fires_for_one_caller_and_its_repeat_writes_nothing(
    raw: Raw,
) -> None:
    assert await repeated(raw, "tick", [TICKS], "t", 1000, "x", DAILY) == ([1, 0], [1, 0])
    for instant, nonce in ((1000, "y"), (999, "x")):
        before = await raw.dump()
        assert await raw.call("tick", [TICKS], "t", instant, nonce, DAILY) == [0, 0]
        assert await raw.dump() == before
    assert await raw.call("tick", [TICKS], "t", 1001, "y", DAILY) == [1, 0]
    assert await raw.call("tick", [TICKS], "other", 1000, "y", DAILY) == [1, 0]


async def test_an_instant_before_the_schedule_was_recorded_never_fires(raw: Raw) -> None:
    since = await record_schedule(raw)
    for instant in (since, since - 1, since - 3_600_000):
        assert await raw.call("tick", [TICKS], "t", instant, "x", DAILY) == [0, 0]
    while (reply := await raw.call("tick", [TICKS], "t", since + 1, "x", DAILY))[0] == 2:
        pass
    assert reply == [1, 0]


async def test_recording_the_same_schedule_again_changes_nothing(raw: Raw) -> None:
    since = await record_schedule(raw)
    while (await raw.call("tick", [TICKS], "t", since + 1, "x", DAILY))[0] == 2:
        pass
    assert await record_schedule(raw) == since + 1
    assert await raw.call("tick", [TICKS], "t", since + 1, "x", DAILY) == [1, 0]
    assert await raw.call("tick", [TICKS], "t", since + 1, "y", DAILY) == [0, 0]


async def test_a_changed_schedule_fires_only_instants_after_the_change(raw: Raw) -> None:
    assert await raw.call("tick", [TICKS], "t", 1000, "x", DAILY) == [1, 0]
    assert await record_schedule(raw) == 1000
    since = await record_schedule(raw, "0 3 * * * UTC")
    assert since > 1_000_000
    assert await raw.call("tick", [TICKS], "t", since, "x", "0 3 * * * UTC") == [0, 0]
    # One that never ran under a wrong clock is not set back.
    await raw.redis.hset(TICKS, "t", f"9000000000000 x {DAILY}")
    assert await record_schedule(raw, "0 3 * * * UTC") == 9_000_000_000_000


async def test_an_instant_that_is_not_due_is_not_stored(raw: Raw) -> None:
    verdict, wait = await raw.call("tick", [TICKS], "t", 9_000_000_000_000, "x", DAILY)
    assert (verdict, wait > 0) == (2, True)
    assert await raw.dump() == {}


async def test_an_app_has_at_most_1000_cron_tasks(raw: Raw) -> None:
    await raw.redis.hset(TICKS, mapping={f"t{number}": "1 x" for number in range(1000)})
    said = await refused(raw, "BADARG", raw.call("tick", [TICKS], "new", 1000, "x", DAILY))
    assert "limit=1000" in said
    assert await raw.call("tick", [TICKS], "t0", 1000, "x", DAILY) == [1, 0]
