"""Who is a member of which group: see also `tests/cli/test_check.py`."""

from __future__ import annotations

from redis.asyncio import Redis

from runnel import App, Record, Worker
from runnel.operations.group_members import groups_of
from runnel.protocol.scripts import Scripts
from tests.worker.workers import until


class Order(Record):
    id: int


async def test_a_worker_that_has_left_is_a_member_no_more(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=1)

    @app.on(orders)
    async def bill(order: Order) -> None: ...

    @app.on(orders)
    async def mail(order: Order) -> None: ...

    async def joined() -> bool:
        return any((await groups_of(Scripts(redis), "w-1", None)).values())

    async with Worker(app, ["bill"], "w-1"):
        # The block begins when the worker has started, which may be before its first heartbeat.
        await until(joined, "it is a member")
        both = await groups_of(Scripts(redis), "w-1", None)
    assert both == {f"{app_name}/bill": True, f"{app_name}/mail": False}
    left = await groups_of(Scripts(redis), "w-1", app_name)
    assert left == dict.fromkeys(both, False)
    await app.close()
