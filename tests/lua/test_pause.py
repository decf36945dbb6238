"""pause: an operator stops a processor on one partition."""

from __future__ import annotations

from tests.lua.conftest import OTHER, STATE, Raw
from tests.lua.steps import ready, repeated


async def test_the_reply_of_the_next_commit_says_that_the_processor_is_paused(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await raw.call("pause", [STATE]) == 1
    assert await raw.commit(epoch, "0-0", ids[0], 1) == [1, 1]
    assert (await raw.claim(11, OTHER))["paused"] == 1


async def test_s6_a_repeated_pause_writes_nothing(raw: Raw) -> None:
    await raw.register()
    assert await repeated(raw, "pause", [STATE]) == (1, 0)
