"""A member that shuts down waits for what can still finish, and not for a Redis that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runnel.core.partition import PartitionState
from runnel.worker.leaving import NO_REPLY, Leaver
from tests.simulation.loop import Process, SimLoop
from tests.unit.partition_states import state


class Shutdown:
    """A member with one partition and one task, which ends after so many seconds."""

    def __init__(self, partition: PartitionState, seconds: float, answers: bool) -> None:
        self.partition = partition
        self.seconds = seconds
        self.answers = answers
        self.loop = SimLoop()  # type: ignore[abstract]
        self.result: tuple[bool, list[str]] | None = None
        self.took = 0.0

    def run(self, timeout: float) -> None:
        self.loop.spawn(Process("it"), lambda: self._run(timeout))
        self.loop.run(1000.0)
        assert not self.loop.unhandled

    async def _run(self, timeout: float) -> None:
        task = asyncio.create_task(asyncio.sleep(self.seconds))

        def tasks() -> list[asyncio.Task[Any]]:
            return [] if task.done() else [task]

        def replies() -> int:
            return int(self.loop.time() / 0.25) if self.answers else 0

        began = self.loop.time()
        leaver = Leaver("work", tasks, lambda: [self.partition] if tasks() else [], replies)
        self.result = await leaver.finish(timeout)
        self.took = self.loop.time() - began
        task.cancel()


def busy() -> PartitionState:
    it = state(1)
    it.hand_out(1)
    return it


def idle() -> PartitionState:
    it = state(1)
    it.handler_ended = True
    return it


def test_a_current_event_has_the_whole_timeout_and_is_named_then() -> None:
    it = Shutdown(busy(), 60.0, answers=True)
    it.run(10.0)
    assert it.result == (True, ["processor work, partition 0, event 1-0"])
    assert it.took == pytest.approx(10.0)


def test_what_finishes_in_time_is_not_cut_off() -> None:
    it = Shutdown(busy(), 3.0, answers=True)
    it.run(10.0)
    assert it.result == (True, [])
    assert it.took == pytest.approx(3.0, abs=0.3)


def test_an_idle_partition_is_not_waited_for_while_redis_does_not_answer() -> None:
    it = Shutdown(idle(), 60.0, answers=False)
    it.run(10.0)
    assert it.result == (False, [])
    assert it.took == pytest.approx(NO_REPLY)


def test_a_current_event_is_waited_for_though_redis_does_not_answer() -> None:
    it = Shutdown(busy(), 5.0, answers=False)
    it.run(10.0)
    assert it.result == (True, []), "a task that ends is a sign that Redis answers"
    assert it.took == pytest.approx(5.0)
