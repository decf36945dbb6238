"""A worker whose declarations differ from what is stored writes nothing."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import (
    App,
)
from runnel.errors import ConfigError, Mismatch
from runnel.worker.worker import Worker
from tests.primaries import every_key
from tests.worker.bank import Bank, Payment
from tests.worker.inside import Item, Ledger, owned
from tests.worker.workers import until


@pytest.mark.fault(48)
async def test_a_worker_with_another_partition_count_is_refused_and_has_written_nothing(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it runs")
    keys = await every_key(redis)
    before = {key: await redis.type(key) for key in keys}
    registry = await redis.hgetall(f"runnel:{{{ledger.app.name}}}:processors")
    grown = App(ledger.app.name, redis_url=ledger.url)
    items = grown.stream("items", record=Item, partition_by="number", partition_count=4)
    grown.on(items, name="work")(print)
    with pytest.raises(Mismatch, match="stored=1 given=4"):
        await Worker(grown).run()
    assert {key: await redis.type(key) for key in await every_key(redis)} == before
    assert await redis.hgetall(f"runnel:{{{ledger.app.name}}}:processors") == registry


async def test_a_worker_whose_table_another_processor_writes_is_refused_at_its_start(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    bank = Bank(app_name, redis_url)
    async with bank.app:
        await bank.book(alice=5)
    before = set(await every_key(redis))

    def renamed(writer: str | None) -> App:
        app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
        payments = app.stream("payments", record=Payment, partition_by="account", partition_count=4)
        app.table("balances", payments, value=int, default=0, processor=writer)
        app.on(payments, name="booking")(print)
        return app

    with pytest.raises(ConfigError) as caught:
        await Worker(renamed("booking")).run(burst=True)
    assert str(caught.value) == (
        "table balances: the processor book writes it, so booking cannot: use another name, or "
        "empty it with `runnel table clear`"
    )
    with pytest.raises(ConfigError, match="cannot: declare it with processor='book', use another"):
        await Worker(renamed(None)).run(burst=True)
    assert set(await every_key(redis)) == before
    await Worker(renamed("book")).run(burst=True)


async def test_a_second_processor_of_the_stream_does_not_have_to_say_that_it_writes_no_table(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    bank = Bank(app_name, redis_url)
    bank.app.on(bank.payments, name="audit")(lambda payment: None)
    async with bank.app:
        await bank.book(alice=5)
        await bank.book(alice=6)
        assert await bank.balances.read("alice") == 11
