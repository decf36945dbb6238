"""streaQ: a stream with Lua functions, a transaction for each task; sixteen at a time, its
default."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import uvloop
from common import URL, Peer, Values, main
from streaq import Worker

logging.disable(logging.CRITICAL)
worker = Worker(redis_url=URL, concurrency=16, handle_signals=False)
hooks: list[Callable[..., None]] = []


@worker.task(name="handle")
async def handle(sent: float | None = None, **_: Any) -> None:
    hooks[0](sent)


class Streaq(Peer):
    async def connect(self) -> None:
        await worker.__aenter__()

    async def send(self, record: Values) -> None:
        await handle.enqueue(**record)

    async def send_many(self, records: list[Values]) -> None:
        await worker.enqueue_many([handle.enqueue(**record) for record in records])

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        hooks.append(handled)
        uvloop.run(worker.run_async())


if __name__ == "__main__":
    main(Streaq())
