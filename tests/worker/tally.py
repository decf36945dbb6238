"""An app for worker processes under test whose handlers keep totals in tables.

`$DELAY` is what an event takes, in seconds, and `$FAILING` the share of events that fail after
their handler has written.
"""

from __future__ import annotations

import asyncio
import os
import random
import time

from runnel import App, Events, ExceptionPolicy, Record

app = App(
    "tally",
    session_timeout=1.0,
    rebalance_timeout=5,
    rebalance_delay=0.1,
    backoff=0.01,
    backoff_max=0.05,
    retries=1000,
)


class Sale(Record):
    key: int
    amount: int


sales = app.stream("sales", record=Sale, partition_by="key", partition_count=8)
#: The sum of the amounts of each key, by one event at a time.
totals = app.table("totals", sales, value=int, default=0, processor="add")
#: How many events each key has, by lists of events.
counts = app.table("counts", sales, value=int, default=0, processor="count")
#: The sum of the amounts of each key, by a plain function.
sums = app.table("sums", sales, value=int, default=0, processor="plain")
#: How many events of each partition have an even amount: a key that no event has.
even = app.table("even", sales, value=int, default=0, processor="add")
EVEN = "even"
_delay = float(os.environ.get("DELAY", "0"))
_failing = float(os.environ.get("FAILING", "0"))


def _fail_sometimes() -> None:
    if random.random() < _failing:
        raise ValueError("a fault on purpose")


@app.processor(sales, exception_policy=ExceptionPolicy.HALT)
async def add(events: Events[Sale]) -> None:
    async for sale in events.records():
        totals[sale.key] += sale.amount
        if sale.amount % 2 == 0:
            await even.load(EVEN)
            even[EVEN] += 1
        await asyncio.sleep(_delay)
        _fail_sometimes()


@app.processor(sales, exception_policy=ExceptionPolicy.HALT)
async def count(events: Events[Sale]) -> None:
    async for batch in events.take(20).records():
        for sale in batch:
            counts[sale.key] += 1
            await asyncio.sleep(_delay)
        _fail_sometimes()


@app.on(sales, exception_policy=ExceptionPolicy.HALT)
def plain(sale: Sale) -> None:
    sums[sale.key] += sale.amount
    time.sleep(_delay)
    _fail_sometimes()
