"""One run for all who need it at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from runnel.errors import another


class SingleFlight:
    """Runs something once for all who ask for it while it runs."""

    def __init__(self) -> None:
        #: Name -> the run, and how many wait for it.
        self._runs: dict[Hashable, tuple[asyncio.Task[None], list[None]]] = {}

    async def run(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the run of this name, and begin it if there is none. Raises what it raises. Once
        nobody waits for it any more it is cancelled, and whoever comes then begins anew."""
        if name not in self._runs:
            self._runs[name] = asyncio.create_task(work()), []
        task, waiting = self._runs[name]
        waiting.append(None)
        try:
            await asyncio.shield(task)
        except Exception as error:
            raise another(error) from error.__cause__
        finally:
            waiting.pop()
            if self._runs.get(name, (None,))[0] is task and (task.done() or not waiting):
                del self._runs[name]
                task.cancel()
