"""A drain ends when nothing is left, and says what is left if it does not end."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import pytest

from runnel import App, Events, Middleware, Record, Stream
from runnel.errors import ConfigError
from runnel.harness import HandlerFailed, Harness, NotDrained
from runnel.table import Table


class Item(Record):
    key: str
    number: int = 0


class Depot:
    """An app of its own for each test: its retries wait for an hour."""

    def __init__(self, **options: Any) -> None:
        self.app = App("depot", backoff=3600.0, backoff_max=3600.0)
        self.items: Stream[Item] = self.app.stream("items", record=Item, partition_by="key")
        self.more: Stream[Item] = self.app.stream(
            "more", record=Item, partition_by="key", **options
        )
        self.counts: Table[int] = self.app.table("counts", self.items, value=int, default=0)


@pytest.fixture
def depot() -> Depot:
    return Depot()


def items(count: int, key: str = "a") -> list[Item]:
    return [Item(key=key, number=number) for number in range(count)]


async def left(t: Harness, expected: str) -> str:
    """What a drain says when its time is over; it gets more time until it has come so far."""
    timeout = 0.05
    while True:
        with pytest.raises(NotDrained) as over:
            await t.drain(timeout=timeout)
        if re.search(expected, str(over.value)) or timeout > 10:
            return str(over.value)
        timeout *= 2


async def test_the_time_limit_names_the_handler_the_event_and_the_line(depot: Depot) -> None:
    never = asyncio.Event()

    @depot.app.on(depot.items)
    async def stuck(item: Item) -> None:
        await never.wait()

    async with depot.app.test() as t:
        (sent,) = await t.send(depot.items, *items(1))
        text = await left(t, "the handler has event")
        assert f"processor stuck, partition {sent.partition}: 1 event is not committed" in text
        assert f"the handler has event {sent.id}, at {__file__}:" in text
        assert text.endswith("in stuck")
        never.set()
        await t.drain()  # It may go on.
        assert t.lag(stuck) == 0


async def test_events_that_make_new_ones_for_ever_are_no_endless_test(depot: Depot) -> None:
    @depot.app.on(depot.items)
    async def again(item: Item) -> None:
        depot.items.emit(item)

    async with depot.app.test(timeout=0.1) as t:
        await t.send(depot.items, *items(1))
        with pytest.raises(NotDrained, match="processor again"):
            await t.drain()


async def test_a_processor_that_waits_for_room_goes_on_when_another_one_makes_it() -> None:
    depot = Depot(partition_size=4)

    @depot.app.on(depot.items)
    async def double(item: Item) -> None:
        depot.more.emit(item)
        depot.more.emit(item)

    read: list[int] = []

    @depot.app.on(depot.more)
    async def take(item: Item) -> None:
        read.append(item.number)

    async with depot.app.test() as t:
        await t.send(depot.items, *items(6))
        await t.drain()
        assert read == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


async def test_a_commit_that_finds_no_room_is_named_when_the_time_is_over() -> None:
    depot = Depot(partition_size=4)

    @depot.app.on(depot.items)
    async def copy(item: Item) -> None:
        depot.more.emit(item)

    async with depot.app.test() as t:
        await t.send(depot.items, *items(6))
        expected = r"its commit waits: .*FULL.*limit=4"
        assert re.search(expected, await left(t, expected))


async def test_a_worker_that_dies_again_and_again_stops_at_the_event(depot: Depot) -> None:
    @depot.app.on(depot.items)
    async def count(item: Item) -> None:
        depot.counts[item.key] += 1

    async with depot.app.test() as t:
        await t.send(depot.items, *items(3))
        for _ in range(4):
            await t.crash()
            assert t.lag(count) == 3
        await t.drain()
        assert (depot.counts.at("a"), t.lag(count)) == (3, 0)


@pytest.mark.parametrize("commit", ["auto", "each"])
async def test_a_crash_repeats_what_was_handed_out(depot: Depot, commit: Any) -> None:
    seen: list[int] = []

    @depot.app.on(depot.items, commit=commit)
    async def look(item: Item) -> None:
        seen.append(item.number)

    async with depot.app.test() as t:
        await t.send(depot.items, *items(3))
        await t.crash()
        assert seen == ([0, 1, 2] if commit == "auto" else [0])
        await t.drain()
        assert seen[-3:] == [0, 1, 2]


async def test_a_crash_does_not_hide_that_a_handler_fails(depot: Depot) -> None:
    @depot.app.on(depot.items, retries=1)
    async def fail(item: Item) -> None:
        raise ValueError("always")

    async with depot.app.test() as t:
        await t.send(depot.items, *items(1))
        with pytest.raises(HandlerFailed, match="ValueError: always"):
            await t.crash()


async def test_sys_exit_in_a_handler_fails_the_test_and_does_not_end_it(depot: Depot) -> None:
    @depot.app.on(depot.items)
    async def leave(item: Item) -> None:
        raise SystemExit(3)

    async with depot.app.test() as t:
        await t.send(depot.items, *items(1))
        with pytest.raises(HandlerFailed, match="the worker has ended") as failed:
            await t.drain()
        assert isinstance(failed.value.__cause__, SystemExit)


async def test_a_handler_that_fails_before_its_first_event_blames_none(depot: Depot) -> None:
    @depot.app.processor(depot.items)
    async def fail(events: Events[Item]) -> None:
        raise RuntimeError("no configuration")

    async with depot.app.test() as t:
        await t.send(depot.items, *items(1))
        with pytest.raises(HandlerFailed, match="fails without an event: RuntimeError: no conf"):
            await t.drain()
        assert [(each.event, each.record) for each in t.quarantined(fail)] == [("", None)]


async def test_two_processors_that_write_one_table_fail_the_test(depot: Depot) -> None:
    @depot.app.on(depot.items)
    async def one(item: Item) -> None:
        depot.counts[item.key] += 1

    @depot.app.on(depot.items)
    async def two(item: Item) -> None:
        depot.counts[item.key] += 1

    async with depot.app.test() as t:
        await t.send(depot.items, *items(1))
        with pytest.raises(HandlerFailed, match="counts is written by the processor one"):
            await t.drain()
        assert depot.counts.at("a") == 1


async def test_a_handler_that_swallows_its_end_does_not_keep_the_test(depot: Depot) -> None:
    @depot.app.on(depot.items)
    async def stubborn(item: Item) -> None:
        ends = 0
        while ends < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends += 1

    async with depot.app.test(timeout=0.05) as t:
        await t.send(depot.items, *items(1))
        with pytest.raises(NotDrained):
            await t.drain()


async def test_one_drain_at_a_time(depot: Depot) -> None:
    hold, held = asyncio.Event(), asyncio.Event()

    @depot.app.on(depot.items)
    async def wait(item: Item) -> None:
        held.set()
        await hold.wait()

    async with depot.app.test() as t:
        await t.send(depot.items, *items(1))
        draining = asyncio.create_task(t.drain())
        await held.wait()
        with pytest.raises(ConfigError, match="one drain of a test at a time"):
            await t.drain()
        hold.set()
        await draining


async def test_middleware_and_its_failures_are_part_of_the_test(depot: Depot) -> None:
    class Limit(Middleware):
        async def handler(self, events: Any) -> Any:
            async for event in events:
                if event.record.number == 1:
                    raise PermissionError("not this one")
                yield event

    seen: list[int] = []

    @depot.app.on(depot.items, middleware=[Limit()], retries=2, exception_policy="ignore")
    async def look(item: Item) -> None:
        seen.append(item.number)

    async with depot.app.test() as t:
        await t.send(depot.items, *items(3))
        await t.drain()
        assert seen == [0, 2]
        assert {each.message for each in t.failures(look)} == {"PermissionError: not this one"}


async def test_a_failed_list_is_tried_event_by_event(depot: Depot) -> None:
    done: list[int] = []

    @depot.app.processor(depot.items, exception_policy="ignore", retries=1)
    async def store(events: Events[Item]) -> None:
        async for batch in events.take(10, within=60.0).records():
            if any(each.number == 3 for each in batch):
                raise ValueError("three")
            done.extend(each.number for each in batch)

    async with depot.app.test() as t:
        await t.send(depot.items, *items(6))
        await t.drain()
        assert done == [0, 1, 2, 4, 5]


async def test_a_plain_function_is_waited_for(depot: Depot) -> None:
    release = threading.Event()

    @depot.app.on(depot.items)
    def wait(item: Item) -> None:
        assert release.wait(10)
        depot.counts[item.key] += 1

    async with depot.app.test() as t:
        await t.send(depot.items, *items(2))
        assert "processor wait, partition" in await left(t, "the handler has event")
        release.set()
        await t.drain()
        assert depot.counts.at("a") == 2


async def test_keys_of_a_table_expire_as_time_moves_on() -> None:
    app = App("depot")
    stream = app.stream("items", record=Item, partition_by="key", partition_count=1)
    last = app.table("last", stream, value=int, expire=60)

    @app.on(stream)
    async def note(item: Item) -> None:
        last[item.key] = item.number

    async with app.test() as t:
        await t.send(stream, Item(key="a"))
        await t.advance(61)
        await t.send(stream, Item(key="b"))
        await t.drain()
        assert t.table(last) == {"b": 0}


async def test_a_thousand_events_of_many_keys_take_a_moment(depot: Depot) -> None:
    @depot.app.on(depot.items)
    async def count(item: Item) -> None:
        depot.counts[item.key] += 1

    async with depot.app.test() as t:
        await t.send(depot.items, *[Item(key=str(number % 40)) for number in range(1000)])
        await t.drain()
        assert set(t.table(depot.counts).values()) == {25}
