"""arq: jobs in a sorted set that the worker polls. `default` as it comes; `tuned` polls every 10 ms
and runs a hundred jobs at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from common import BULK, URL, Peer, Values, main

logging.disable(logging.CRITICAL)
SETTINGS = RedisSettings.from_dsn(URL)


class Arq(Peer):
    async def connect(self) -> None:
        self.pool = await create_pool(SETTINGS)

    async def send(self, record: Values) -> None:
        await self.pool.enqueue_job("handle", **record)

    async def send_many(self, records: list[Values]) -> None:
        """It has no call for many: fifty at a time, a connection each."""
        for first in range(0, BULK, 50):
            await asyncio.gather(*map(self.send, records[first : first + 50]))

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        uvloop.run(self._work(variant, handled))

    async def _work(self, variant: str, handled: Callable[..., None]) -> None:
        async def handle(context: Any, sent: float | None = None, **_: Any) -> None:
            handled(sent)

        tuned: dict[str, Any] = {"max_jobs": 100, "poll_delay": 0.01}
        worker = Worker(
            [func(handle, name="handle")],
            redis_settings=SETTINGS,
            handle_signals=False,
            **(tuned if variant == "tuned" else {}),
        )
        await worker.async_run()


if __name__ == "__main__":
    main(Arq())
