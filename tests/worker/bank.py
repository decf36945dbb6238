"""An app whose processor keeps balances, and a worker for it in this process."""

from __future__ import annotations

import asyncio
from typing import Any

from runnel import App, Events, Record
from runnel.table import Table
from runnel.worker.worker import Worker


class Payment(Record):
    account: str
    amount: int


class Bank:
    """An app whose processor `book` keeps balances; payments of `stop` wait for `go_on`."""

    def __init__(self, name: str, url: str) -> None:
        self.app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.01, retries=0)
        self.payments = self.app.stream(
            "payments", record=Payment, partition_by="account", partition_count=4
        )
        self.balances: Table[int] = self.app.table("balances", self.payments, value=int, default=0)
        self.waits, self.go_on = asyncio.Event(), asyncio.Event()

        @self.app.processor(self.payments, exception_policy="ignore")
        async def book(events: Events[Payment]) -> None:
            async for each in events.records():
                self.balances[each.account] += each.amount
                if each.account == "vip":
                    await self.balances.load("limit of vip")
                    self.balances["limit of vip"] = 1000
                if each.account == "stop":
                    self.waits.set()
                    await self.go_on.wait()

    def same_table(self, **options: Any) -> tuple[App, Table[int]]:
        """The table as another program declares it, and its app."""
        other = App(self.app.name, redis_url=self.app.settings.redis_url)
        count = options.pop("partition_count", 4)
        payments = other.stream(
            "payments", record=Payment, partition_by="account", partition_count=count
        )
        return other, other.table("balances", payments, value=int, **options)

    async def book(self, **amounts: int) -> None:
        await self.payments.send(*(Payment(account=a, amount=n) for a, n in amounts.items()))
        await Worker(self.app).run(burst=True)
