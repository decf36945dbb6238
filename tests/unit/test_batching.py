"""Calls that are made at the same time are sent together, and no node waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from runnel.errors import StaleGrant
from runnel.protocol.scripts import Call
from runnel.worker.batching import CALLS_PER_ROUND, CallBatching


class Nodes:
    """Answers calls; the first letter of a key is its node."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.held: dict[str, asyncio.Event] = {}

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        keys = [call.keys[0] for call in calls]
        self.rounds.append(keys)
        if event := self.held.get(keys[0][0]):
            await event.wait()
        if keys[0] == "a lost":
            raise ConnectionError("lost")
        return [StaleGrant("no", {}) if "stale" in key else key for key in keys]


def call(key: str) -> Call:
    return Call("claim", (key,), ())


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def gathering(nodes: Nodes) -> CallBatching:
    return CallBatching(nodes.call_all, lambda key: key[0])


async def test_many_take_few_round_trips(nodes: Nodes, gathering: CallBatching) -> None:
    keys = [f"a{number}" for number in range(3 * CALLS_PER_ROUND)]
    assert await asyncio.gather(*(gathering.call(call(key)) for key in keys)) == keys
    assert [len(each) for each in nodes.rounds] == [CALLS_PER_ROUND] * 3


async def test_calls_during_a_round_trip_go_into_the_next_one(
    nodes: Nodes, gathering: CallBatching
) -> None:
    nodes.held["a"] = asyncio.Event()
    first = asyncio.create_task(gathering.call(call("a1")))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(gathering.call(call(key))) for key in ("a2", "a3")]
    await asyncio.sleep(0)
    nodes.held["a"].set()
    assert await asyncio.gather(first, *others) == ["a1", "a2", "a3"]
    assert nodes.rounds == [["a1"], ["a2", "a3"]]


async def test_a_silent_node_holds_up_no_other(nodes: Nodes, gathering: CallBatching) -> None:
    nodes.held["a"] = asyncio.Event()
    silent = asyncio.create_task(gathering.call(call("a1")))
    assert await gathering.call(call("b1")) == "b1"
    assert not silent.done()
    nodes.held["a"].set()
    assert await silent == "a1"


async def test_a_refusal_fails_one_call_and_a_lost_connection_all_of_them(
    gathering: CallBatching,
) -> None:
    outcomes = await asyncio.gather(
        *(gathering.call(call(key)) for key in ("a1", "a stale", "a2")), return_exceptions=True
    )
    assert outcomes[::2] == ["a1", "a2"]
    assert isinstance(outcomes[1], StaleGrant)
    lost = await asyncio.gather(
        *(gathering.call(call(key)) for key in ("a lost", "a3")), return_exceptions=True
    )
    assert all(isinstance(each, ConnectionError) for each in lost)
    assert await gathering.call(call("a4")) == "a4", "and it continues"


async def test_a_cancelled_call_is_left_out(nodes: Nodes, gathering: CallBatching) -> None:
    nodes.held["a"] = asyncio.Event()
    tasks = [asyncio.create_task(gathering.call(call(key))) for key in ("a1", "a2", "a3")]
    await asyncio.sleep(0.01)
    late = asyncio.create_task(gathering.call(call("a4")))
    await asyncio.sleep(0)
    for task in (tasks[1], late):
        task.cancel()
    await asyncio.sleep(0)
    nodes.held["a"].set()
    assert [await tasks[0], await tasks[2]] == ["a1", "a3"]
    assert await gathering.call(call("a5")) == "a5"
    assert not any("a4" in each for each in nodes.rounds)
