"""Handlers of every kind are tested alike: several events at once, and plain functions."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from runnel import App, DeadLetterMiddleware, Record, Stream
from runnel.harness import HandlerFailed
from runnel.table import Table
from runnel.testing.in_memory import MemoryBackend


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
        self.broken = {("b", 1)}
        self.now = self.most = 0

    def note(self, item: Item) -> None:
        """What each handler does."""
        self.threads.add(threading.get_ident())
        self.seen.append((item.key, item.number))
        self.counts[item.key] += 1
        if (item.key, item.number) in self.broken:
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
@pytest.mark.parametrize("commit", ["auto", "each"])
async def test_retries_later(depot: Depot, kind: str, commit: str) -> None:
    more = {"commit": commit} if kind == "plain" else {}
    declare(depot, kind, exception_policy="retry_later", retries=2, backoff=60, **more)
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        await t.drain()
        assert t.postponed("work") == [Item(key="b", number=1)]
        assert t.table(depot.counts) == {"a": 4, "b": 3, "c": 4, "d": 4}
        await t.advance(59)
        assert len(t.failures("work")) == 1, "it does not come early"
        await t.advance(1)
        assert len(t.failures("work")) == 2
        await t.crash()
        await t.advance(119)
        assert len(t.failures("work")) == 2, "the pause is twice as long"
        await t.advance(1)
        assert (t.postponed("work"), t.parked("work")) == ([], [Item(key="b", number=1)])
        assert [n for key, n in depot.seen if key == "b"] == [0, 1, 2, 3, 1, 1]
        await t.replay("work")
        await t.drain()
        assert len(t.failures("work")) == 4
        assert t.postponed("work") == [Item(key="b", number=1)], "it has all its retries again"


@KINDS
async def test_a_retry_that_succeeds_later_counts_once(depot: Depot, kind: str) -> None:
    declare(depot, kind, exception_policy="retry_later", retries=2, backoff=60)
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        await t.drain()
        depot.broken.clear()
        await t.advance(60)
        assert (t.postponed("work"), t.parked("work")) == ([], [])
        assert t.table(depot.counts) == {"a": 4, "b": 4, "c": 4, "d": 4}
        assert t.lag("work") == 0


@KINDS
async def test_a_drain_waits_for_the_commit_of_a_retry(
    depot: Depot, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = MemoryBackend.commit

    async def slow_commit(self: MemoryBackend, calls: Any) -> Any:
        await asyncio.sleep(0.05)  # For more turns of the loop than the engine waits.
        return await commit(self, calls)

    monkeypatch.setattr(MemoryBackend, "commit", slow_commit)
    declare(depot, kind, exception_policy="retry_later", retries=2, backoff=60)
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        await t.drain()
        depot.broken.clear()
        await t.advance(60)
        assert (t.postponed("work"), t.parked("work")) == ([], [])


@KINDS
async def test_retries_later_with_dead_letters(depot: Depot, kind: str) -> None:
    letters = [DeadLetterMiddleware()]
    declare(depot, kind, exception_policy="retry_later", retries=1, middleware=letters)
    async with depot.app.test() as t:
        await t.send(depot.items, *ITEMS)
        await t.advance(3600)
        assert t.dead("work") == [Item(key="b", number=1)]
        assert (t.postponed("work"), t.parked("work")) == ([], [])


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
