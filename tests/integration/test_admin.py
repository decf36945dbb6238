"""A processor is reset to any event, and its lag is known at once."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record
from runnel.operations import admin
from runnel.protocol.scripts import Scripts


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


@pytest.mark.parametrize("behind", [0, 1, 999, 1000, 1001, 2500])
async def test_a_reset_to_an_event_counts_those_behind_it(
    redis: Redis, redis_url: str, app_name: str, behind: int
) -> None:
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=1)
    app.on(orders)(bill)
    scripts, processor = Scripts(redis), app.processors["bill"]
    await admin.add(scripts, processor)
    async with app:
        sent = await orders.send(*(Order(id=number) for number in range(2500)))
    start = sent[-behind].id if behind else "$"
    (checkpoint,) = await admin.reset(scripts, processor, start)
    assert checkpoint == (sent[-behind - 1].id if behind < 2500 else "0-0")
    groups: Any = await redis.xinfo_groups(processor.keys(0).log)
    assert groups[0]["lag"] == behind
