"""A test of an app without a server: what it does, and what it shows."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from runnel import DeadLetterMiddleware, Events
from runnel.errors import ConfigError, EncodeError, Full
from runnel.harness import HandlerFailed
from runnel.table import Table
from tests.unit.storefront import HOUR, Alert, Order, Shop, order


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_events_are_handled_in_order_with_tables_and_emits(shop: Shop) -> None:
    @shop.app.processor(shop.orders)
    async def book(events: Events[Order]) -> None:
        async for each in events.records():
            shop.sums[each.shop] += each.amount
            if shop.sums[each.shop] > 10:
                events.emit(shop.alerts, Alert(shop=each.shop, why=str(shop.sums[each.shop])))

    warned: list[str] = []

    @shop.app.on(shop.alerts)
    async def warn(alert: Alert) -> None:
        warned.append(alert.why)

    async with shop.app.test() as t:
        sent = await t.send(shop.orders, order(6), order(6), order(6), order(1, "b"))
        assert t.lag(book) == 4
        assert not warned, "nothing is processed before the drain"
        await t.drain()
        assert warned == ["12", "18"]
        assert t.sent(shop.alerts) == [Alert(shop="a", why=why) for why in warned]
        assert shop.sums.at("a") == 18
        assert t.table(shop.sums) == {"a": 18, "b": 1}
        assert t.lag(book) == 0
        assert [(each.partition, each.id) for each in t.events(shop.orders)] == sent


async def test_a_failing_event_is_retried_at_once_and_its_effects_are_undone(shop: Shop) -> None:
    tries: list[int] = []

    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        tries.append(each.amount)
        shop.sums[each.shop] += each.amount
        shop.alerts.emit(Alert(shop=each.shop, why=f"try {len(tries)}"))
        if len(tries) < 3:
            raise ValueError("not yet")

    async with shop.app.test() as t:
        (sent,) = await t.send(shop.orders, order(5))
        await t.drain()
        assert tries == [5, 5, 5]
        assert shop.sums.at("a") == 5
        assert [each.why for each in t.sent(shop.alerts)] == ["try 3"]
        assert t.attempts(book, sent) == 2
        assert [each.attempt for each in t.failures(book)] == [1, 2]
        assert t.failures()[0].record == order(5)
        assert isinstance(t.failures()[0].error, ValueError)
        assert t.failures()[0].message == "ValueError: not yet"


async def test_a_quarantine_fails_the_test_with_the_error_of_the_handler(shop: Shop) -> None:
    broken = True

    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        if broken and each.amount == 2:
            raise LookupError("no such shop")
        shop.sums[each.shop] += 1

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1), order(2), order(3))
        with pytest.raises(HandlerFailed, match="LookupError: no such shop") as failed:
            await t.drain()
        assert isinstance(failed.value.__cause__, LookupError)
        assert "Order(shop='a', amount=2)" in str(failed.value)
        (stopped,) = t.quarantined(book)
        assert (stopped.record, stopped.attempt) == (order(2), 4)
        assert (shop.sums.at("a"), t.lag(book)) == (1, 2)
        await t.drain()  # It was told once.
        broken = False
        await t.resume(book)
        await t.drain()
        assert (shop.sums.at("a"), t.quarantined(book)) == (3, [])
        broken = True
        await t.send(shop.orders, order(2))
        await t.drain(check=False)
        assert len(t.quarantined(book)) == 1


async def test_dead_letters_and_parked_events_are_shown_as_their_records(shop: Shop) -> None:
    @shop.app.on(shop.orders, exception_policy="ignore", middleware=[DeadLetterMiddleware()])
    async def mail(each: Order) -> None:
        if each.amount < 0:
            raise ValueError("negative")

    broken = True
    packed: list[int] = []

    @shop.app.on(shop.orders, exception_policy="park", retries=0)
    async def pack(each: Order) -> None:
        if broken and each.amount < 0:
            raise ValueError("negative")
        packed.append(each.amount)

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1), order(-1), order(2), order(3, "b"))
        await t.drain()
        assert t.dead(mail) == [order(-1)]
        assert [each.error_message for each in t.dead_letters(mail)] == ["negative"]
        assert t.parked(pack) == [order(-1), order(2)]
        assert sorted(packed) == [1, 3]
        await t.replay(pack)
        await t.drain()
        assert t.parked(pack) == [order(-1), order(2)], "it has failed again"
        broken = False
        await t.replay(pack)
        await t.drain()
        assert (packed[-2:], t.parked(pack)) == ([-1, 2], [])
        with pytest.raises(ConfigError, match="processor pack keeps no dead letters"):
            t.dead(pack)


async def test_halt_ends_the_worker_and_the_next_drain_starts_another(shop: Shop) -> None:
    broken = True
    seen: list[int] = []

    @shop.app.on(shop.orders, exception_policy="halt", retries=1)
    async def book(each: Order) -> None:
        seen.append(each.amount)
        if broken:
            raise OSError("disk full")

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1))
        with pytest.raises(HandlerFailed, match="failed 2 times: OSError: disk full") as failed:
            await t.drain()
        assert isinstance(failed.value.__cause__, OSError)
        broken = False
        await t.drain()
        assert (seen, t.lag(book)) == ([1, 1, 1], 0)


async def test_a_crash_gives_the_events_again_and_loses_what_was_not_committed(
    shop: Shop,
) -> None:
    paid: list[int] = []

    @shop.app.on(shop.orders)
    async def pay(each: Order) -> None:
        paid.append(each.amount)
        shop.sums[each.shop] += each.amount
        shop.alerts.emit(Alert(shop=each.shop, why="paid"))

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1))
        await t.drain()
        await t.send(shop.orders, order(2), order(3))
        await t.crash()
        assert paid == [1, 2, 3]
        assert (shop.sums.at("a"), len(t.sent(shop.alerts)), t.lag(pay)) == (1, 1, 2)
        await t.drain()
        assert paid == [1, 2, 3, 2, 3]
        assert (shop.sums.at("a"), len(t.sent(shop.alerts)), t.lag(pay)) == (6, 3, 0)


async def test_a_batch_is_given_out_without_waiting_for_it_to_fill_up(shop: Shop) -> None:
    batches: list[list[int]] = []

    @shop.app.processor(shop.orders)
    async def archive(events: Events[Order]) -> None:
        nonlocal batches
        async for batch in events.take(3, within=HOUR).records():
            batches += [[each.amount for each in batch]]

    async with shop.app.test() as t:
        await t.send(shop.orders, *map(order, range(5)))
        await t.drain()
        assert batches == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True, "60", None])
async def test_time_moves_on_by_a_number_of_seconds(shop: Shop, seconds: Any) -> None:
    async with shop.app.test() as t:
        with pytest.raises(ConfigError, match=r"^advance\(\) takes "):
            await t.advance(seconds)


async def test_time_moves_on_only_by_advance(shop: Shop) -> None:
    windows: list[int] = []

    @shop.app.processor(shop.orders)
    async def count(events: Events[Order]) -> None:
        nonlocal windows
        async for batch in events.take(10, within=60, empty=True):
            windows += [len(batch)]

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1), order(2))
        await t.drain()
        assert windows == [2]
        await t.drain()
        assert windows == [2]
        await t.advance(150)
        assert windows == [2, 0, 0]
        await t.send(shop.orders, order(3), dedupe="three")
        await t.send(shop.orders, order(3), dedupe="three")
        await t.drain()
        await t.advance(86_400)
        await t.send(shop.orders, order(3), dedupe="three")
        assert [each.amount for each in t.sent(shop.orders)] == [1, 2, 3, 3]


@pytest.mark.parametrize("sync", [False, True], ids=["asyncio.run", "send_sync"])
async def test_plain_functions_run_in_threads_and_may_send_from_there(
    shop: Shop, sync: bool
) -> None:
    threads: set[int] = set()

    @shop.app.on(shop.orders)
    def book(each: Order) -> None:
        threads.add(threading.get_ident())
        shop.sums[each.shop] += each.amount
        alert = Alert(shop=each.shop, why="from a thread")
        if sync:
            shop.alerts.send_sync(alert)
        else:
            asyncio.run(shop.alerts.send(alert))

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1), order(2))
        await t.drain()
        assert threading.get_ident() not in threads
        assert shop.sums.at("a") == 3
        assert len(t.sent(shop.alerts)) == 2


async def test_what_a_handler_calls_works_as_in_a_worker(shop: Shop) -> None:
    limits: Table[int] = shop.app.table("limits", shop.alerts, value=int, default=7)
    seen: list[Any] = []

    @shop.app.processor(shop.orders)
    async def book(events: Events[Order]) -> None:
        async for event in events:
            await shop.sums.load("total")
            shop.sums["total"] += event.record.amount
            await events.commit()
            seen.append(shop.sums.at("total", of="a"))
            seen.append(await limits.read("a"))
            await shop.alerts.send(Alert(shop="a", why="now"), headers={"by": event.headers["by"]})

    async with shop.app.test() as t:
        await t.send(shop.orders, order(4), headers={"by": "me"})
        await t.drain()
        assert seen == [4, 7]
        assert [each.headers for each in t.events(shop.alerts)] == [{"by": "me"}]
        assert (shop.sums.at("total", of="a"), shop.sums.at("a")) == (4, 0)
        for expected in (1, 0):
            importer = shop.app.producer(id="import")
            sent = await importer.send(shop.orders, order(1), number=5)
            assert len(list(filter(None, sent))) == expected
            assert await importer.last(shop.orders) == 5
        await shop.sums.read("a")


async def test_what_cannot_be_sent_fails_as_it_does_with_a_server() -> None:
    shop = Shop(partition_size=3)

    @shop.app.on(shop.orders)
    async def book(each: Order) -> None: ...

    async with shop.app.test() as t:
        with pytest.raises(EncodeError):
            await t.send(shop.orders, Alert(shop="a", why=""))  # type: ignore[misc]
        await t.send(shop.orders, order(1), order(2), order(3))
        with pytest.raises(Full, match="book has not committed its oldest"):
            await t.send(shop.orders, order(4))
        await t.drain()
        await t.send(shop.orders, order(4))
        assert [each.amount for each in t.sent(shop.orders)] == [1, 2, 3, 4]


async def test_a_task_is_run_by_hand(shop: Shop) -> None:
    @shop.app.timer(interval=1.0)
    async def remind() -> None:
        await shop.alerts.send(Alert(shop="a", why="remember"))

    @shop.app.crontab("@daily")
    async def fail() -> None:
        raise ValueError("no report")

    async with shop.app.test() as t:
        await t.run_task(remind)
        await t.run_task("remind")
        assert len(t.sent(shop.alerts)) == 2
        with pytest.raises(ValueError, match="no report"):
            await t.run_task(fail)
        with pytest.raises(ConfigError, match="no task 'x'; it has remind, fail"):
            await t.run_task("x")
