"""Who writes the tables of an app is checked before a worker registers anything."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import App, Events
from runnel.errors import ConfigError, NotInHandler
from runnel.preflight.table_checks import with_own_tables
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.primaries import every_key
from tests.worker.bank import Bank, Payment


def reader(name: str, url: str, processor: str | None) -> App:
    """Another program, which has the table and a processor that does not write it."""
    app = App(name, redis_url=url, rebalance_delay=0.0)
    payments = app.stream("payments", record=Payment, partition_by="account", partition_count=4)
    app.table("balances", payments, value=int, default=0, processor=processor)
    app.on(payments, name="audit")(lambda payment: None)
    return app


async def test_a_processor_that_is_nowhere_is_refused_before_anything_is_written(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await Worker(reader(app_name, redis_url, "bok")).run(burst=True)
    assert str(caught.value) == (
        "table balances: processor='bok' is neither a processor of this app nor registered in "
        "Redis; the processors of payments here are audit"
    )
    assert await every_key(redis) == []


async def test_a_processor_of_another_program_is_one_once_it_is_registered_or_has_written(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    bank = Bank(app_name, redis_url)
    async with bank.app:
        await bank.book(alice=5)
    await Worker(reader(app_name, redis_url, "book")).run(burst=True)
    with pytest.raises(ConfigError, match="processor='boook' is neither"):
        await Worker(reader(app_name, redis_url, "boook")).run(burst=True)
    for number in range(4):  # It was removed, and its table was kept.
        meta = bank.app.processors["book"].keys(number).meta
        await redis.hdel(meta, "checkpoint:book")
        await redis.hset(meta, "table:balances", "book")
    await Worker(reader(app_name, redis_url, "book")).run(burst=True)


async def test_a_processor_uses_no_table_of_another_one_although_nobody_was_declared(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    """What it remembers under its leases would not be true."""
    bank, raised = Bank(app_name, redis_url), list[str]()

    @bank.app.processor(bank.payments)
    async def audit(events: Events[Payment]) -> None:
        async for each in events.records():
            try:
                raised.append(str(bank.balances[each.account]))
            except NotInHandler:
                raised.append(f"read {await bank.balances.read(each.account)}")

    scripts, app = Scripts(redis), bank.app
    async with app:
        both = [await with_own_tables(scripts, app, each) for each in app.choose([])]
        assert [each.tables for each in both] == [("balances",), ("balances",)]
        await bank.payments.send(Payment(account="alice", amount=5))
        await Worker(app, ["book"]).run(burst=True)
        both = [await with_own_tables(scripts, app, each) for each in app.choose([])]
        assert [(each.name, each.tables) for each in both] == [
            ("book", ("balances",)),
            ("audit", ()),
        ]
        await Worker(app, ["audit"]).run(burst=True)
    assert raised == ["read 5"]
