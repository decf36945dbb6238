"""resume: an operator ends a pause or a quarantine."""

from __future__ import annotations

from tests.lua.conftest import NONCE, OTHER, STATE, Raw
from tests.lua.steps import ready, repeated


async def test_a_quarantine_outlives_its_owner_and_resume_ends_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 3, "Boom", "x")
    await raw.commit(epoch, "0-0", "0-0", 0, release=1)
    found = await raw.claim(11, OTHER)
    assert (found["quarantined"], found["attempts"], found["event"]) == (1, 3, ids[0])
    assert await repeated(raw, "resume", [STATE]) == (1, 0)
    found = await raw.claim(12)
    assert (found["quarantined"], found["attempts"], found["event"]) == (0, 0, "")


async def test_s6_a_repeated_resume_writes_nothing(raw: Raw) -> None:
    await raw.register()
    await raw.call("pause", [STATE])
    assert await repeated(raw, "resume", [STATE]) == (1, 0)
    assert (await raw.claim(1))["paused"] == 0
