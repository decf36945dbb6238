"""A test with a server, and with workers that die."""

from __future__ import annotations

from typing import Any

from shop import Order, app, orders, stock


async def test_a_worker_that_is_killed_loses_no_order(runnel_app: Any) -> None:
    async with runnel_app(app) as t:
        t.worker(n=2)
        await t.send(orders, *[Order(article=f"bolt {n % 20}", pieces=1) for n in range(400)])
        t.kill()
        await t.drain()
        left = await stock.read_many([f"bolt {n}" for n in range(20)])
        assert set(left.values()) == {80}
