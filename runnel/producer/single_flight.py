"""Runs a coroutine once for all callers that need it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from runnel.producer.error_copies import copy_of


class SingleFlight:
    """Shares one run of a coroutine among all callers that ask while it runs."""

    def __init__(self) -> None:
        #: Name -> the run, and an item for each caller that waits for it.
        self._runs: dict[Hashable, tuple[asyncio.Task[None], list[None]]] = {}

    async def run(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the run of this name; begin it if there is none. Raises a copy of its error.

        A run that no caller waits for any more is cancelled, and the next caller begins a new one.
        """
        if name not in self._runs:
            self._runs[name] = asyncio.create_task(work()), []
        task, waiting = self._runs[name]
        waiting.append(None)
        try:
            await asyncio.shield(task)
        except Exception as error:
            raise copy_of(error) from error.__cause__
        finally:
            waiting.pop()
            if self._runs.get(name, (None,))[0] is task and (task.done() or not waiting):
                del self._runs[name]
                task.cancel()
