"""Tables are listed, exported and cleared while workers run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import keys
from runnel.errors import RunnelError
from runnel.operations import admin
from runnel.operations.table_admin import clear, export, living_members, parts_of, writers_of
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.bank import Bank, Payment


@pytest.fixture
async def bank(redis: Redis, redis_url: str, app_name: str) -> AsyncIterator[Bank]:
    made = Bank(app_name, redis_url)
    async with made.app:
        yield made


async def test_a_worker_goes_on_with_an_empty_table_after_it_was_cleared(
    bank: Bank, redis: Redis
) -> None:
    scripts = Scripts(redis)
    bank.go_on.set()
    await bank.book(alice=5, stop=7)
    bank.go_on.clear()
    bank.waits.clear()
    await bank.payments.send(Payment(account="stop", amount=1))
    run = asyncio.create_task(Worker(bank.app).run(burst=True))
    await bank.waits.wait()
    # The handler has read 7, and has written 8 that is not committed.
    parts = await parts_of(scripts, bank.balances)
    assert await living_members(scripts, bank.balances, writers_of(parts)) == 1
    assert await clear(scripts, bank.balances, parts) == 2
    bank.go_on.set()
    await run
    assert await bank.balances.read_many(["alice", "stop"]) == {"alice": 0, "stop": 1}
    parts = await parts_of(scripts, bank.balances)
    assert writers_of(parts) == ["book"]
    assert await living_members(scripts, bank.balances, ["book"]) == 0


async def test_a_worker_counts_each_event_once_after_its_tables_were_cleared_by_a_reset(
    bank: Bank, redis: Redis
) -> None:
    bank.go_on.set()
    await bank.book(alice=5, bob=2, stop=7)
    bank.go_on.clear()
    bank.waits.clear()
    await bank.payments.send(Payment(account="stop", amount=1))
    run = asyncio.create_task(Worker(bank.app).run(burst=True))
    await bank.waits.wait()
    # The handler has written 8 that is not committed. Its worker remembers all it has read.
    work = bank.app.processors["book"]
    assert await admin.reset(Scripts(redis), work, "0", tables=["balances"]) == ["0-0"] * 4
    bank.go_on.set()
    await run
    found = await bank.balances.read_many(["alice", "bob", "stop"])
    assert found == {"alice": 5, "bob": 2, "stop": 8}


async def test_parts_are_told_by_partition_and_a_server_need_not_tell_the_bytes(
    bank: Bank, redis: Redis
) -> None:
    await bank.book(alice=5)
    number = bank.payments.spec.partition(Payment(account="alice", amount=0))
    parts = await parts_of(Scripts(redis), bank.balances)
    expected = [("book", 1) if p == number else (None, 0) for p in range(4)]
    assert [(each.writer, each.keys) for each in parts] == expected
    key = keys.table(bank.payments.spec.prefix(number), "balances")
    assert parts[number].bytes == await redis.memory_usage(key)


async def test_a_server_without_memory_does_not_tell_the_bytes(app_name: str) -> None:
    with Server(rename_command="MEMORY forbidden") as server:
        bank = Bank(app_name, server.url)
        async with bank.app:
            await bank.book(alice=5)
            parts = await parts_of(Scripts(bank.app.producer().deployment.client), bank.balances)
            assert {each.bytes for each in parts} == {None}


async def exported(bank: Bank, redis: Redis) -> dict[str, int]:
    pages = [page async for page in export(Scripts(redis), bank.balances)]
    assert all(len(page) < 1000 for _, page in pages)
    return {key.decode(): int(value) for _, page in pages for key, value in page}


async def test_an_export_has_every_key_in_bounded_pages(bank: Bank, redis: Redis) -> None:
    prefix = keys.table(bank.payments.spec.prefix(2), "balances")
    amounts = {f"account {number}": number for number in range(3000)}
    await redis.hset(prefix, mapping=amounts)  # type: ignore[arg-type]
    await redis.hset(keys.table(bank.payments.spec.prefix(0), "balances"), "one", "1")
    assert await exported(bank, redis) == {**amounts, "one": 1}


async def test_an_export_that_goes_on_at_another_server_is_an_error(
    server: Server, app_name: str
) -> None:
    bank = Bank(app_name, server.url)
    async with bank.app:
        client = bank.app.producer().deployment.client
        key = keys.table(bank.payments.spec.prefix(2), "balances")
        await client.hset(key, mapping={f"account {number}": number for number in range(3000)})
        pages = export(Scripts(client), bank.balances)
        while (await anext(pages))[0] != 2:
            pass
        server.stop()
        server.start()
        with suppress(ConnectionError):  # From the connection to the old server.
            await client.roundtrip([("PING",)])
        with pytest.raises(RunnelError, match="partition 2 was restarted or replaced"):
            await anext(pages)
