"""What is around a test of an app: startup functions, limits, event loops, several tests."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from runnel import App, DeadLetter, DeadLetterMiddleware, Event, Events, Record
from runnel.errors import ConfigError, HandlerReturned, LifespanFailed
from runnel.harness import HandlerFailed, Harness, NotDrained
from tests.unit.storefront import HOUR, Alert, Order, Shop, order


@pytest.fixture
def shop() -> Shop:
    return Shop()


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
