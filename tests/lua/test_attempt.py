"""attempt: failures, recorded starts, deaths and quarantine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import NONCE, STATE, Raw
from tests.lua.steps import described, ready, refused


async def test_s6_a_failure_is_recorded_once_and_removed_by_the_next_commit(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    for _ in range(2):
        args = (epoch, NONCE, "failure", ids[0], 2, "Boom", "it went off")
        assert await raw.call("attempt", [STATE], *args) == 0
    seen = await described(raw)
    assert (seen["attempts"], seen["event"]) == ("2", ids[0])
    assert (seen["error_type"], seen["error_message"]) == ("Boom", "it went off")
    assert int(seen["error_at"]) <= int(seen["now"])
    await raw.commit(epoch, "0-0", ids[0], 1)
    seen = await described(raw)
    assert (seen["attempts"], seen["event"], seen["unclean_tenures"]) == ("0", "", "0")
    assert not any(name.startswith("error_") for name in seen)


async def test_deaths_are_counted_for_one_event_in_a_row(raw: Raw) -> None:
    _, ids = await ready(raw)

    async def dies(grant: int, kind: str, event: str) -> dict[str, Any]:
        token: Any = await raw.redis.hmget(STATE, "epoch", "nonce")
        epoch, nonce = (each.decode() for each in token)
        await raw.call("attempt", [STATE], epoch, nonce, kind, event, 0, "", "")
        return await raw.claim(grant, f"{grant}" * 16)

    assert (await dies(11, "start", ids[0]))["deaths"] == 1
    assert (await dies(12, "start", ids[0]))["deaths"] == 2
    assert (await dies(13, "failure", ids[0]))["deaths"] == 0, "its worker lived to report it"
    assert (await dies(14, "start", ids[0]))["deaths"] == 1
    assert (await dies(15, "start", ids[1]))["deaths"] == 1, "another event"


@pytest.mark.parametrize(
    "rest", [("failure", "1-0", 10**9, "T", ""), ("failure", "1-0", 1, "T", "x" * 4001), ()]
)
async def test_a_malformed_attempt_is_refused_and_writes_nothing(
    raw: Raw, rest: tuple[Any, ...]
) -> None:
    epoch, _ = await ready(raw)
    await refused(raw, "BADARG", raw.call("attempt", [STATE], epoch, NONCE, *rest))
