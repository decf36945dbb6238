"""FastStream: a subscriber of a Redis stream with a consumer group; logging is off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import uvloop
from common import URL, Peer, Values, main
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

broker = RedisBroker(URL, logger=None)


class Order(BaseModel):
    """Validated as Runnel's is."""

    order_id: int
    created_at: datetime
    amount: int
    sent: float | None = None


class FastStream(Peer):
    async def connect(self) -> None:
        await broker.connect()

    async def send(self, record: Values) -> None:
        await broker.publish(record, stream="orders")

    async def send_many(self, records: list[Values]) -> None:
        pipeline = broker._connection.pipeline(transaction=False)
        for record in records:
            await broker.publish(record, stream="orders", pipeline=pipeline)
        await pipeline.execute()

    def work(self, action: str, handled: Callable[..., None]) -> None:
        options = {"group": "g", "consumer": "c", "last_id": "0", "max_records": 100}
        if action == "batch":

            @broker.subscriber(stream=StreamSub("orders", batch=True, **options))
            async def batch(orders: list[Order]) -> None:
                handled(count=len(orders))
        else:

            @broker.subscriber(stream=StreamSub("orders", **options))
            async def one(order: Order) -> None:
                handled(order.sent)

        uvloop.run(self._forever())

    async def _forever(self) -> None:
        await broker.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main(FastStream())
