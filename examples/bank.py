"""A bank: payments change balances, overdrawn accounts raise alerts, alerts are counted.

    payments ── book ──> balances (a table)
                  └────> alerts ── watch ──> overdrawn (a table)
                                                 └────> the daily report

$ runnel worker bank:app                # as many as you like, each in a terminal of its own
$ python bank.py send 1000              # payments; `kill -9` a worker meanwhile
$ python bank.py report
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import date, timedelta

from runnel import App, Events, Record

app = App("bank", session_timeout=2.0)
CUSTOMERS = ["ann", "bob", "cem", "dee", "eve", "fay"]
ACCOUNTS = {customer: [f"{customer}-{n}" for n in range(8)] for customer in CUSTOMERS}


class Payment(Record):
    account: str
    customer: str
    amount: int
    day: date


class Overdrawn(Record):
    customer: str
    account: str
    balance: int
    day: date


payments = app.stream("payments", record=Payment, partition_by="account")
balances = app.table("balances", payments, value=int, default=0)
# All alerts of a customer must meet in one partition: so they go to a stream with another key.
alerts = app.stream("alerts", record=Overdrawn, partition_by="customer")
overdrawn = app.table("overdrawn", alerts, value=dict[date, int], default=dict)


@app.processor(payments)
async def book(events: Events[Payment]) -> None:
    async for payment in events.records():
        before = balances[payment.account]
        after = balances[payment.account] = before + payment.amount
        if before >= 0 > after:
            alert = Overdrawn(
                customer=payment.customer, account=payment.account, balance=after, day=payment.day
            )
            events.emit(alerts, alert)  # Together with the balance, or not at all.


@app.processor(alerts)
async def watch(events: Events[Overdrawn]) -> None:
    async for alert in events.records():
        days = overdrawn[alert.customer]
        days[alert.day] = days.get(alert.day, 0) + 1  # Stored when the event is finished.


@app.crontab("0 6 * * *", on_leader=True)
async def report() -> None:
    """Every morning, by one of the workers."""
    alarms = await overdrawn.read_many(CUSTOMERS)
    for customer, accounts in ACCOUNTS.items():
        money = await balances.read_many(accounts)
        counts = ", ".join(f"{day} {count}" for day, count in sorted(alarms[customer].items()))
        print(f"{customer}: {sum(money.values())} in {len(money)} accounts; overdrawn: {counts}")


def sample(number: int) -> list[Payment]:
    """Payments of three days, always the same ones."""
    rng, made, first = random.Random(1), [], date(2026, 11, 23)
    for i in range(number):
        customer = rng.choice(CUSTOMERS)
        account, amount = rng.choice(ACCOUNTS[customer]), rng.randint(-100, 100)
        day = first + timedelta(3 * i // number)
        made.append(Payment(account=account, customer=customer, amount=amount, day=day))
    return made


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        asyncio.run(payments.send(*sample(int(sys.argv[2])), wait=True))
    else:
        asyncio.run(report())
