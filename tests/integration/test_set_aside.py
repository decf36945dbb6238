"""What was set aside, for a page: `tests/cli/test_serving.py` has events of each kind."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import App, Record
from runnel.errors import ConfigError
from runnel.operations.registry import announce_processor
from runnel.operations.set_aside import newest
from runnel.protocol.scripts import Scripts


class Order(Record):
    id: int


async def test_a_processor_that_has_set_nothing_aside_has_an_empty_list(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=2)

    @app.on(orders)
    async def bill(order: Order) -> None: ...

    await announce_processor(Scripts(redis), app.processors["bill"])
    assert await newest(Scripts(redis), app_name, "orders", "bill", None) == []
    with pytest.raises(ConfigError, match="has no stream 'letters'"):
        await newest(Scripts(redis), app_name, "orders", "bill", "letters")
