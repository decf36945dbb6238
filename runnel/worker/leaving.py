"""Waits for the handlers and commits of a member that shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runnel.core.partition import PartitionState
from runnel.log import logger_of
from runnel.worker import stuck

logger = logger_of("runnel.worker")

#: Seconds without a reply of Redis after which partitions that only have to be released are not
#: waited for.
NO_REPLY = 1.5
#: Seconds between two checks. A heartbeat is sent at least every second time.
POLL = 0.25
#: How many items of a list are named in a log line.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Leaver:
    """A member that shuts down: its processor's name, the tasks that must end, the partitions that
    are held, and how many heartbeats got a reply."""

    name: str
    tasks: Callable[[], Sequence[asyncio.Task[Any]]]
    states: Callable[[], Sequence[PartitionState]]
    replies: Callable[[], int]

    def busy(self) -> list[PartitionState]:
        """Partitions whose handler is running, or has finished events that are not committed."""
        return [
            state for state in self.states() if not state.handler_ended or state.uncommitted > 0
        ]

    def unfinished(self) -> list[str]:
        """What each of these is working on, for people."""
        return [
            f"processor {self.name}, partition {state.partition}, {_work_of(state)}"
            for state in self.busy()
        ]

    async def finish(self, timeout: float) -> tuple[bool, list[str]]:
        """Wait until all tasks have ended, for at most `timeout` seconds. Log what is cut off.

        Returns whether Redis answers, and what is cut off.
        """
        answers = await self._wait(timeout)
        cut_off = self.unfinished()
        if cut_off:
            # A call in a thread cannot be cut off.
            names = [f"{self.name}/{state.partition}" for state in self.busy()]
            threads = stuck.threads(names)
            logger.warning(
                "cut off, because shutdown_timeout (%g s) is over, and to be processed again: %s%s",
                timeout,
                _listed(cut_off),
                f"; still running until the process ends: {_listed(threads)}" if threads else "",
            )
        elif not answers:
            logger.warning(
                "Redis does not answer: the partitions of processor %s move to other workers when "
                "this worker's session has ended; nothing was unfinished",
                self.name,
            )
        return answers, cut_off

    async def _wait(self, timeout: float) -> bool:
        """Returns whether Redis answers.

        The timeout is for what can still finish: a current event, or a commit once Redis is back.
        Idle partitions only have to be released. If Redis does not answer, that is not worth a
        wait: they move when the session has ended.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        last, silent = (self.replies(), len(self.tasks())), 0.0
        while (tasks := self.tasks()) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=min(POLL, left))
            if (now := (self.replies(), len(self.tasks()))) != last:
                last, silent = now, 0.0
            else:
                # Counted in polls: while the event loop is blocked, no reply can be read.
                silent += POLL
            if silent >= NO_REPLY and not self.busy():
                return False
        return silent < NO_REPLY and not (self.tasks() and not self.busy())


def _work_of(state: PartitionState) -> str:
    if state.current:
        more = f" and {len(state.current) - 1} more" if len(state.current) > 1 else ""
        return f"event {state.current[0][0].decode()}{more}"
    if not state.handler_ended:
        return "whose handler has not returned"
    return f"{state.uncommitted} finished and not committed"


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
