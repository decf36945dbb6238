"""What a table holds, read from outside the handlers that write it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from runnel import App, Events, Mismatch, keys
from runnel.errors import DecodeError, HandlerError, NotInHandler
from runnel.table import NOTHING
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.bank import Bank, Payment


@pytest.fixture
async def bank(redis: Redis, redis_url: str, app_name: str) -> AsyncIterator[Bank]:
    made = Bank(app_name, redis_url)
    async with made.app:
        yield made


async def test_what_was_committed_is_read_from_anywhere(bank: Bank) -> None:
    assert await bank.balances.read("alice") == 0
    await bank.book(alice=5, bob=7, carol=9)
    assert await bank.balances.read("alice") == 5
    found = await bank.balances.read_many(["carol", "nobody", "alice", "alice"])
    assert found == {"carol": 9, "nobody": 0, "alice": 5}
    assert await bank.balances.read_many([]) == {}


async def test_a_key_is_found_by_the_partition_key_of_the_events_that_write_it(bank: Bank) -> None:
    await bank.book(vip=5)
    assert bank.payments.spec.hasher(b"vip") % 4 != bank.payments.spec.hasher(b"limit of vip") % 4
    assert await bank.balances.read("limit of vip") == 0
    assert await bank.balances.read("limit of vip", of="vip") == 1000
    found = await bank.balances.read_many(["limit of vip", "vip"], of="vip")
    assert found == {"limit of vip": 1000, "vip": 5}


async def test_every_event_loop_may_read(bank: Bank) -> None:
    await bank.book(alice=5)
    found: list[int] = []

    def read() -> None:
        found.extend(asyncio.run(bank.balances.read("alice")) for _ in range(2))

    thread = threading.Thread(target=read)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert found == [5, 5]


async def test_a_key_without_value_and_default_is_missing(bank: Bank) -> None:
    app, table = bank.same_table(default=NOTHING)
    async with app:
        with pytest.raises(KeyError, match="nobody"):
            await table.read("nobody")
        await bank.book(alice=5)
        assert await table.read_many(["nobody", "alice"]) == {"alice": 5}


async def test_many_keys_of_a_partition_are_read_in_bounded_commands(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.table_reader.FIELDS", 2)
    amounts = {f"a{number}": number for number in range(1, 30)}
    await bank.book(**amounts)
    assert await bank.balances.read_many(amounts) == amounts


async def test_a_handler_of_the_table_is_told_to_use_it_like_a_dict(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    payments = app.stream("payments", record=Payment, partition_by="account", partition_count=64)
    balances = app.table("balances", payments, value=int, default=0, processor="book")
    raised: list[HandlerError] = []
    read: list[int] = []

    @app.processor(payments)
    async def book(events: Events[Payment]) -> None:
        async for each in events.records():
            balances[each.account] += each.amount
            try:
                await balances.read(each.account)
            except HandlerError as error:
                raised.append(error)
            read.append(await balances.read("bob"))

    @app.processor(payments)
    async def audit(events: Events[Payment]) -> None:
        async for each in events.records():
            read.append(await balances.read("bob"))
            await balances.read(each.account)

    async with app:
        await payments.send(Payment(account="alice", amount=5))
        await Worker(app).run(burst=True)
    (error,) = raised
    assert "use `balances['alice']`" in str(error)
    assert read == [0, 0], "another partition, and another processor"


async def test_a_handler_looks_up_what_another_processor_has_committed(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    """In the same partition, in any other, and by the key of the events that wrote it."""
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    payments = app.stream("payments", record=Payment, partition_by="account", partition_count=8)
    orders = app.stream("orders", record=Payment, partition_by="account", partition_count=3)
    balances = app.table("balances", payments, value=int, default=0, processor="book")
    seen: dict[str, list[int]] = {"mail": [], "ship": []}

    @app.processor(payments)
    async def book(events: Events[Payment]) -> None:
        async for each in events.records():
            balances[each.account] += each.amount
            await balances.load(f"limit of {each.account}")
            balances[f"limit of {each.account}"] = 100

    async def look_up(account: str, name: str) -> None:
        found = await balances.read(account)
        limit = await balances.read(f"limit of {account}", of=account)
        seen[name] += [found, limit, await balances.read("bob")]
        with pytest.raises(NotInHandler, match=rf"processor {name} does not .*balances.read\(key"):
            balances[account]

    @app.on(payments)
    async def mail(payment: Payment) -> None:
        await look_up(payment.account, "mail")

    @app.on(orders)
    async def ship(order: Payment) -> None:
        await look_up(order.account, "ship")

    async with app:
        await payments.send(Payment(account="alice", amount=5), Payment(account="bob", amount=7))
        await Worker(app, ["book"]).run(burst=True)
        await orders.send(Payment(account="alice", amount=1))
        await Worker(app, ["mail", "ship"]).run(burst=True)
    assert seen["ship"] == [5, 100, 7]
    assert sorted(seen["mail"]) == sorted([5, 100, 7, 7, 100, 7])


async def test_writes_that_are_not_committed_yet_are_not_seen(bank: Bank) -> None:
    await bank.book(alice=5)
    await bank.payments.send(Payment(account="stop", amount=1))
    run = asyncio.create_task(Worker(bank.app).run(burst=True))
    await bank.waits.wait()
    assert await bank.balances.read("stop") == 0
    bank.go_on.set()
    await run
    assert await bank.balances.read("stop") == 1


async def test_another_partition_count_is_a_mismatch_and_not_a_missing_key(bank: Bank) -> None:
    await bank.book(alice=5)
    app, table = bank.same_table(default=0, partition_count=64)
    async with app:
        with pytest.raises(Mismatch, match="partition_count=4, the code says 64"):
            await table.read("alice")


async def test_what_cannot_be_read_raises(bank: Bank, redis: Redis) -> None:
    prefix = bank.payments.spec.prefix(bank.payments.spec.partition(Payment(account="a", amount=1)))
    await redis.hset(keys.table(prefix, "balances"), "a", "many")
    with pytest.raises(DecodeError, match="table balances: a stored value cannot be read"):
        await bank.balances.read("a")
    await redis.set(keys.table(prefix, "balances"), "no hash")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await bank.balances.read("a")


async def test_a_server_that_was_restarted_since_the_last_read_is_read(
    server: Server, app_name: str
) -> None:
    bank = Bank(app_name, server.url)
    async with bank.app:
        await bank.book(alice=5)
        assert await bank.balances.read("alice") == 5
        server.stop()
        server.start()
        assert await bank.balances.read("alice") == 5
