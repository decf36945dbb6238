"""Handlers of every kind are tested alike: several events at once, and plain functions."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from runnel import App, DeadLetterMiddleware, Record, Stream
from runnel.harness import HandlerFailed
from runnel.table import Table


class Item(Record):
    key: str
    number: int = 0


class Depot:
    """An app of its own for each test, of one partition. Its retries wait for an hour."""

    def __init__(self) -> None:
        self.app = App("depot", backoff=3600.0, backoff_max=3600.0)
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="key", partition_count=1
        )
        self.counts: Table[int] = self.app.table("counts", self.items, value=int, default=0)
        self.seen: list[tuple[str, int]] = []
        self.threads: set[int] = set()
        self.now = self.most = 0

    def note(self, item: Item) -> None:
        """What each handler does."""
        self.threads.add(threading.get_ident())
        self.seen.append((item.key, item.number))
        self.counts[item.key] += 1
        if (item.key, item.number) == ("b", 1):
            raise ValueError(f"{item.key}{item.number}")

    async def beside(self, item: Item) -> None:
        """A handler of several events at once."""
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        self.note(item)


@pytest.fixture
def depot() -> Depot:
    return Depot()


def declare(depot: Depot, kind: str, **options: Any) -> None:
    if kind == "beside":
        options["concurrency"] = 8
    function = depot.beside if kind == "beside" else depot.note
    depot.app.on(depot.items, name="work", **options)(function)


ITEMS = [Item(key=key, number=number) for number in range(4) for key in "abcd"]
KINDS = pytest.mark.parametrize("kind", ["beside", "plain"])


@KINDS
async def test_order_retries_tables_and_dead_letters(depot: Depot, kind: str) -> None:
    declare(depot, kind, exception_policy="ignore", middleware=[DeadLetterMiddleware()])
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        await t.drain()
        assert t.table(depot.counts) == {"a": 4, "b": 3, "c": 4, "d": 4}
        assert t.dead("work") == [Item(key="b", number=1)]
        assert [str(each.error) for each in t.failures("work")] == ["b1"] * 4
        assert [n for key, n in depot.seen if key == "b"] == [0, 1, 1, 1, 1, 2, 3]
        assert [n for key, n in depot.seen if key == "a"] == [0, 1, 2, 3]
        if kind == "plain":
            assert threading.get_ident() not in depot.threads
        else:
            assert depot.most > 1


@KINDS
async def test_a_quarantine(depot: Depot, kind: str) -> None:
    declare(depot, kind)
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        with pytest.raises(HandlerFailed, match="ValueError: b1") as failed:
            await t.drain()
        assert isinstance(failed.value.__cause__, ValueError)
        assert t.quarantined("work")[0].record == Item(key="b", number=1)


@KINDS
async def test_parked_keys(depot: Depot, kind: str) -> None:
    declare(depot, kind, exception_policy="park")
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        await t.drain()
        assert t.parked("work") == [Item(key="b", number=number) for number in (1, 2, 3)]
        assert t.table(depot.counts) == {"a": 4, "b": 1, "c": 4, "d": 4}


@KINDS
async def test_a_crash(depot: Depot, kind: str) -> None:
    declare(depot, kind)
    async with depot.app.test() as t:
        await t.send(depot.items, *[each for each in ITEMS if each.key != "b"])
        await t.crash()
        assert (len(depot.seen), t.lag("work"), t.table(depot.counts)) == (12, 12, {})
        await t.drain()
        assert (len(depot.seen), t.lag("work")) == (24, 0)
        assert t.table(depot.counts) == {"a": 4, "c": 4, "d": 4}
