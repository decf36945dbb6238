"""A test of an app without a server: what it does, and what it shows."""

from __future__ import annotations

import asyncio
import threading
import unittest
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from runnel import App, DeadLetter, DeadLetterMiddleware, Event, Events, Record, Stream
from runnel.errors import ConfigError, EncodeError, Full, HandlerReturned, LifespanFailed
from runnel.harness import HandlerFailed, Harness, NotDrained
from runnel.table import Table

#: An hour: no test here waits for it.
HOUR = 3600.0


class Order(Record):
    shop: str
    amount: int = 0


class Alert(Record):
    shop: str
    why: str


class Shop:
    """An app of its own for each test."""

    def __init__(self, **options: Any) -> None:
        self.app = App("shop", backoff=HOUR, backoff_max=HOUR)
        self.orders = self.app.stream("orders", record=Order, partition_by="shop", **options)
        self.alerts: Stream[Alert] = self.app.stream("alerts", record=Alert, partition_by="shop")
        self.sums: Table[int] = self.app.table("sums", self.orders, value=int, default=0)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def order(amount: int, shop: str = "a") -> Order:
    return Order(shop=shop, amount=amount)


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


async def test_startup_and_shutdown_functions_run_around_the_test(shop: Shop) -> None:
    said: list[str] = []

    @shop.app.on_startup
    async def begin() -> None:
        shop.app.state.rate = 2
        await shop.orders.send(order(1))
        said.append("begin")

    @shop.app.on_shutdown
    async def end() -> None:
        said.append(f"end, {shop.app.stopping.is_set()}")

    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        said.append("book")
        shop.sums[each.shop] += each.amount * shop.app.state.rate

    async with shop.app.test() as t:
        await t.drain()
        assert shop.sums.at("a") == 2
    assert said == ["begin", "book", "end, True"]
    async with shop.app.test(lifespan=False) as t:
        assert t.sent(shop.orders) == []


async def test_a_startup_function_that_fails_fails_the_test(shop: Shop) -> None:
    @shop.app.on_startup
    async def begin() -> None:
        raise OSError("no database")

    with pytest.raises(LifespanFailed) as failed:
        await shop.app.test().__aenter__()
    assert isinstance(failed.value.__cause__, OSError)
    assert shop.app.under_test is None


async def test_send_sync_works_in_a_plain_handler(shop: Shop) -> None:
    @shop.app.on(shop.orders)
    def book(each: Order) -> None:
        shop.alerts.send_sync(Alert(shop=each.shop, why="sync"))

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1), order(2))
        await t.drain()
        assert [each.why for each in t.sent(shop.alerts)] == ["sync", "sync"]


async def test_only_some_processors_may_run(shop: Shop) -> None:
    seen: list[str] = []

    @shop.app.on(shop.orders)
    async def one(each: Order) -> None:
        seen.append("one")

    @shop.app.on(shop.orders)
    async def two(each: Order) -> None:
        seen.append("two")

    async with shop.app.test(one) as t:
        await t.send(shop.orders, order(1))
        await t.drain()
        assert (seen, t.lag(two)) == (["one"], 0)
    with pytest.raises(ConfigError, match="name one of one, two"):
        await shop.app.test("three").__aenter__()
    assert shop.app.under_test is None


async def test_two_tests_see_nothing_of_each_other_and_one_runs_at_a_time(shop: Shop) -> None:
    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        shop.sums[each.shop] += each.amount

    before = shop.app._producers, shop.app.stopping
    for _ in range(2):
        async with shop.app.test() as t:
            assert shop.app._producers is not before[0]
            await t.send(shop.orders, order(4))
            await t.drain()
            assert t.table(shop.sums) == {"a": 4}
            with pytest.raises(ConfigError, match="under test already"):
                await shop.app.test().__aenter__()
            assert shop.sums.at("a") == 4
    assert (shop.app._producers, shop.app.stopping) == before
    with pytest.raises(ConfigError, match="a test runs inside"):
        t.sent(shop.orders)
    with pytest.raises(ConfigError, match="`at` is for tests"):
        shop.sums.at("a")


async def test_a_test_that_fails_ends_what_runs_and_raises_its_own_error(shop: Shop) -> None:
    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        async with shop.app.test(timeout=0.05) as t:
            await t.send(shop.orders, order(1))
            with suppress(NotDrained):
                await t.drain()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert shop.app.under_test is None


async def test_a_handler_that_returns_fails_the_test(shop: Shop) -> None:
    @shop.app.processor(shop.orders)
    async def book(events: Events[Order]) -> None:
        async for _ in events.records():
            return

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1))
        with pytest.raises(HandlerFailed, match=HandlerReturned.__name__):
            await t.drain()


async def test_a_time_limit_of_a_handler_is_one_in_a_test(shop: Shop) -> None:
    @shop.app.on(shop.orders, timeout=0.02, retries=0)
    async def book(each: Order) -> None:
        await asyncio.sleep(HOUR)

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1))
        with pytest.raises(HandlerFailed, match="HandlerTimeout: it took longer than timeout"):
            await t.drain()


async def test_an_event_that_cannot_be_read_fails_the_test(shop: Shop) -> None:
    class Other(Record):
        number: int

    other = App("shop").stream("orders", record=Other, partition_by="number")

    @shop.app.on(shop.orders)
    async def book(each: Order) -> None: ...

    async with shop.app.test() as t:
        await shop.app.producer().send(other.spec, [Other(number=1)], max_bytes=1000)
        with pytest.raises(HandlerFailed, match="DecodeError"):
            await t.drain()
        assert t.quarantined(book)[0].record is None
        assert isinstance(t.events(shop.orders)[0], Event)


@pytest.fixture
async def tested(shop: Shop) -> AsyncIterator[Harness]:
    """A fixture may hold the test."""

    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        shop.sums[each.shop] += each.amount

    async with shop.app.test() as t:
        yield t


async def test_a_fixture_holds_the_test(shop: Shop, tested: Harness) -> None:
    await tested.send(shop.orders, order(1))
    await tested.drain()
    assert shop.sums.at("a") == 1


def test_asyncio_run_needs_no_plugin(shop: Shop) -> None:
    @shop.app.on(shop.orders)
    async def book(each: Order) -> None:
        shop.sums[each.shop] += each.amount

    async def main() -> int:
        async with shop.app.test() as t:
            await t.send(shop.orders, order(1))
            await t.drain()
            return shop.sums.at("a")

    assert [asyncio.run(main()) for _ in range(2)] == [1, 1]


def test_a_test_stays_in_its_event_loop(shop: Shop) -> None:
    with asyncio.Runner() as one, asyncio.Runner() as other:
        t = one.run(shop.app.test().__aenter__())
        with pytest.raises(ConfigError, match="began in another event loop"):
            other.run(t.drain())
        one.run(t.__aexit__(None))


def test_a_loop_that_is_none_of_asyncio_is_told(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="an event loop of asyncio"):
        shop.app.test().__aenter__().send(None)


async def test_dead_letters_may_have_a_processor_of_their_own(shop: Shop) -> None:
    @shop.app.on(
        shop.orders, exception_policy="ignore", retries=0, middleware=[DeadLetterMiddleware()]
    )
    async def mail(each: Order) -> None:
        raise ValueError("no address")

    complaints: list[str] = []

    @shop.app.on(shop.orders.dead_letters("mail"))
    async def complain(letter: DeadLetter) -> None:
        complaints.append(letter.error_message)

    async with shop.app.test() as t:
        await t.send(shop.orders, order(1), order(2, "b"))
        await t.drain()
        assert complaints == ["no address"] * 2


class TestCase(unittest.IsolatedAsyncioTestCase):
    """A test of unittest."""

    async def asyncSetUp(self) -> None:
        self.shop = Shop()

        @self.shop.app.on(self.shop.orders)
        async def book(each: Order) -> None:
            self.shop.sums[each.shop] += each.amount

        self.t = await self.enterAsyncContext(self.shop.app.test())

    async def test_unittest_works_too(self) -> None:
        await self.t.send(self.shop.orders, order(1))
        await self.t.drain()
        assert self.shop.sums.at("a") == 1
