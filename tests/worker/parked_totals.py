"""An app for worker processes that totals payments in a table. While the file BROKEN_FILE exists,
its handler refuses all accounts but the first."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from runnel import App, Events, Record


class Payment(Record):
    account: str
    number: int


def _exists(file: str) -> bool:
    return Path(file).exists()


def declare(url: str, broken: str) -> App:
    """The app; its processor is `book`."""
    app = App(
        "parked-totals",
        redis_url=url,
        retries=0,
        session_timeout=1.0,
        rebalance_delay=0.05,
        park_limit=1000,
    )
    payments = app.stream("payments", record=Payment, partition_by="account", partition_count=1)
    totals = app.table("totals", payments, value=int, default=0)
    last = app.table("last", payments, value=int, default=-1)

    async def book(events: Events[Payment]) -> None:
        async for payment in events.records():
            totals[payment.account] += payment.number
            if payment.account != "k0" and _exists(broken):
                raise ValueError("it is broken")
            if last[payment.account] != payment.number - 1:
                print("out of order", payment, flush=True)
            last[payment.account] = payment.number
            await asyncio.sleep(float(os.environ.get("DELAY", "0")))

    app.processor(payments, exception_policy="park")(book)
    return app


app = declare(
    os.environ.get("RUNNEL_REDIS_URL", "redis://127.0.0.1:6379"), os.environ.get("BROKEN_FILE", "")
)
