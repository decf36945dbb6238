"""Calls of scripts are told with their time and their outcome, and work as others do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel.connection.connect import connect
from runnel.observer import Observer
from runnel.protocol import StreamContract, declare
from runnel.protocol.observed_scripts import ObservedScripts, scripts_of
from runnel.protocol.scripts import Call, Scripts


class Calls(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Sequence[str], Sequence[object]]] = []

    def called(self, scripts: Sequence[str], seconds: float, outcomes: Sequence[object]) -> None:
        assert seconds > 0
        self.seen.append((scripts, outcomes))


async def test_replies_refusals_and_lost_connections_are_told(redis: Redis) -> None:
    calls = Calls()
    scripts = scripts_of(redis, [calls])
    good = declare("runnel:{a:s:0}:s", StreamContract(4, "xxh64"))
    refused = Call("trim", ("runnel:{a:t:0}:t:log", "runnel:{a:t:0}:t:meta"), ())
    await scripts.call(good)
    outcomes = await scripts.call_all([good, refused])
    assert isinstance(outcomes[1], Exception)
    assert calls.seen[0][0] == ["declare"]
    assert calls.seen[1][0] == ["declare", "trim"]
    assert calls.seen[1][1] == outcomes
    async with connect("redis://127.0.0.1:1") as nowhere:
        with pytest.raises(ConnectionError):
            await scripts_of(nowhere, [calls]).call(good)
    assert calls.seen[2][0] == ["declare"]
    assert isinstance(calls.seen[2][1][0], ConnectionError)


async def test_without_observers_there_is_nothing_between(redis: Redis) -> None:
    assert type(scripts_of(redis, ())) is Scripts
    assert type(scripts_of(redis, [Calls()])) is ObservedScripts
