"""cancel: a delayed event that has not entered the log yet is removed."""

from __future__ import annotations

import pytest

from tests.lua.conftest import DELAYED, META, Raw
from tests.lua.steps import bodies, refused


async def test_a_cancelled_event_never_enters_the_log(raw: Raw) -> None:
    _, due, first, _ = await raw.append_later("a", "a", "b", "c")
    assert await raw.cancel(due, first + 1) == 1
    before = await raw.dump()
    assert await raw.cancel(due, first + 1) == 0
    assert await raw.dump() == before
    assert await raw.promote() == [2, 0, -1, 0]
    assert await bodies(raw) == ["a", "c"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
async def test_it_is_found_among_all_that_are_due_together(raw: Raw, count: int) -> None:
    await raw.append_later("before", "before", ms=50_000)
    seconds, _ = await raw.redis.time()
    at = (int(seconds) + 60) * 1000
    _, due, first, _ = await raw.append_later("a", *("x" * count), ms=at, kind="at")
    await raw.append_later("after", "after", ms=90_000)
    for wrong in (first - 1, first + count, 0):
        assert await raw.cancel(due, wrong) == 0
    assert await raw.cancel(due + 1, first) == 0
    for number in range(count):
        assert await raw.cancel(due, first + number) == 1
    assert await raw.redis.zcard(DELAYED) == 2
    assert await raw.redis.hget(META, "delayed") == b"2"


async def test_the_next_event_is_the_first_that_is_left(raw: Raw) -> None:
    _, due, first, _ = await raw.append_later("a", ms=50_000)
    _, later, second, _ = await raw.append_later("b", ms=60_000)
    await raw.cancel(due, first)
    assert await raw.redis.hget(META, "delayed_due") == b"%d" % later
    await raw.cancel(later, second)
    assert await raw.redis.hget(META, "delayed_due") is None
    assert await raw.promote() == [0, 0, -1, 0]


async def test_what_is_in_the_log_is_not_cancelled(raw: Raw) -> None:
    _, due, first, _ = await raw.append_later("a")
    await raw.promote()
    assert await raw.cancel(due, first) == 0
    assert await bodies(raw) == ["x"]


@pytest.mark.parametrize("args", [(), (1,), ("x", 1), (1, "x"), (-1, 1), (1, "9" * 17), ("", "")])
async def test_a_malformed_call_is_refused(raw: Raw, args: tuple[str | int, ...]) -> None:
    await refused(raw, "BADARG", raw.call("cancel", [META, DELAYED], *args))
