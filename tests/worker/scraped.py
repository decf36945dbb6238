"""An app whose workers are scraped: it processes the orders before `HELD`, and then waits."""

from __future__ import annotations

import os

from redis.asyncio import Redis

from runnel import App, Record

SENT, HELD = 1000, 600
#: Keys of the test: which orders are done, and whether those from `HELD` on may be.
DONE, GO = "done", "go"

app = App(
    "scraped",
    session_timeout=1.0,
    rebalance_delay=0.0,
    rebalance_timeout=0.5,
    backoff=0.01,
    shutdown_timeout=0.5,
)
app.state.failed = False


class Order(Record):
    number: int


orders = app.stream("orders", record=Order, partition_by="number", partition_count=4)
notes = app.stream("notes", record=Order, partition_by="number", partition_count=1)


@app.on_startup
def connect() -> None:
    app.state.redis = Redis.from_url(os.environ["RUNNEL_REDIS_URL"])


@app.on_shutdown
async def disconnect() -> None:
    await app.state.redis.aclose()


@app.on(orders)
async def billing(order: Order) -> None:
    redis = app.state.redis
    if order.number == 0:
        await notes.send(order)
        if not app.state.failed:
            app.state.failed = True
            raise ValueError("on purpose")
    if order.number >= HELD:
        await redis.brpoplpush(GO, GO, 0)
    await redis.sadd(DONE, order.number)
