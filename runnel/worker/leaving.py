"""How long a group that ends waits for what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runnel.core.partition import PartitionState
from runnel.log import logger_of
from runnel.worker import stuck

logger = logger_of("runnel.worker")

#: Seconds without an answer after which Redis is not waited for by what is only to be released.
AWAY = 1.5
#: Seconds between two looks. A heartbeat goes out at least every other one.
LOOK = 0.25
#: So many are named where something is told of many.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """A group that ends: its processor's name, the tasks that are to end, the partitions that are
    held, and how many calls Redis has answered."""

    name: str
    tasks: Callable[[], Sequence[asyncio.Task[Any]]]
    states: Callable[[], Sequence[PartitionState]]
    answers: Callable[[], int]

    def at_work(self) -> list[PartitionState]:
        """Partitions whose handler runs, or has finished what is not committed."""
        return [state for state in self.states() if not state.idle or state.uncommitted > 0]

    def in_hand(self) -> list[str]:
        """What is at work, for people."""
        states = self.at_work()
        return [f"processor {self.name}, partition {a.partition}, {_unfinished(a)}" for a in states]

    async def finish(self, grace: float) -> tuple[bool, list[str]]:
        """Wait until everything has ended, for at most `grace` seconds; tell what had not.

        Returns False if Redis is away, and what is cut off.
        """
        there = await self._wait(grace)
        late = self.in_hand()
        if late:
            # A call in a thread cannot be cut off.
            names = [f"{self.name}/{state.partition}" for state in self.at_work()]
            threads = stuck.threads(names)
            logger.warning(
                "cut off, since the grace of %g s is over, and to be processed again: %s%s",
                grace,
                _listed(late),
                f"; goes on until the process ends: {_listed(threads)}" if threads else "",
            )
        elif not there:
            logger.warning(
                "Redis does not answer: what processor %s held goes to others when its session has "
                "ended there; nothing was unfinished",
                self.name,
            )
        return there, late

    async def _wait(self, grace: float) -> bool:
        """The grace is for what can still finish: an event in hand, or a commit once Redis is back.
        Idle partitions only have to be released. If Redis does not hear of that, they go to others
        when the session has ended, and there is nothing to wait for."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        seen, silent = (self.answers(), len(self.tasks())), 0.0
        while (tasks := self.tasks()) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=min(LOOK, left))
            if (now := (self.answers(), len(self.tasks()))) != seen:
                seen, silent = now, 0.0
            else:
                # Counted in looks: while the event loop is blocked no answer can be read.
                silent += LOOK
            if silent >= AWAY and not self.at_work():
                return False
        return silent < AWAY and not (self.tasks() and not self.at_work())


def _unfinished(state: PartitionState) -> str:
    if state.in_hand:
        return f"event {state.in_hand[0][0].decode()}"
    if not state.idle:
        return "whose handler has not returned"
    return f"{state.uncommitted} finished and not committed"


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
