"""taskiq with taskiq-redis: a stream with a consumer group, an XACK for each task; up to a hundred
tasks at a time, which is its default."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

import uvloop
from common import URL, Peer, Values, main
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

logging.disable(logging.CRITICAL)
broker = RedisStreamBroker(URL, queue_name="orders", consumer_id="0-0", max_connection_pool_size=50)
hooks: list[Callable[..., None]] = []


@broker.task(task_name="handle")
async def handle(
    order_id: int, created_at: datetime, amount: int, sent: float | None = None
) -> None:
    hooks[0](sent)


class Taskiq(Peer):
    async def connect(self) -> None:
        await broker.startup()

    async def send(self, record: Values) -> None:
        await handle.kiq(**record)

    async def send_many(self, records: list[Values]) -> None:
        """It has no call for many: all at the same time."""
        await asyncio.gather(*map(self.send, records))

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        hooks.append(handled)
        uvloop.run(run_receiver_task(broker, sync_workers=1, max_async_tasks=100, run_startup=True))


if __name__ == "__main__":
    main(Taskiq())
