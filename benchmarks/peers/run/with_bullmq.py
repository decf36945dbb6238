"""BullMQ for Python: one queue, one worker, one job at a time or a hundred."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop
from bullmq import Queue, Worker
from common import URL, Peer, Values, main


class BullMQ(Peer):
    async def connect(self) -> None:
        self.queue = Queue("orders", {"connection": URL})

    async def send(self, record: Values) -> None:
        await self.queue.add("order", record)

    async def send_many(self, records: list[Values]) -> None:
        await self.queue.addBulk([{"name": "order", "data": record} for record in records])

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        uvloop.run(self._work(variant, handled))

    async def _work(self, variant: str, handled: Callable[..., None]) -> None:
        async def handle(job: Any, token: str) -> None:
            handled(job.data.get("sent"))

        concurrency = 100 if variant == "hundred" else 1
        self.worker = Worker("orders", handle, {"connection": URL, "concurrency": concurrency})
        await asyncio.Event().wait()


if __name__ == "__main__":
    main(BullMQ())
