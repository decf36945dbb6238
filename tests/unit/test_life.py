"""One worker's member in a test: holds what it is granted, until it releases it or is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runnel import App, Record
from runnel.harness import NotDrained
from runnel.protocol import append
from runnel.testing import life as life_module
from runnel.testing.life import Life
from runnel.testing.store import Store
from runnel.testing.stored import Group
from runnel.testing.virtual_time import VirtualTime


class Item(Record):
    number: int


class Bench:
    """A life of a processor of one partition."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.hold: asyncio.Event | None = None
        self.raised: list[tuple[str, int, BaseException]] = []
        self.failed: list[object] = []
        app = App("depot", retries=0)
        stream = app.stream("items", record=Item, partition_by="number", partition_count=1)

        @app.on(stream)
        async def work(item: Item) -> None:
            if self.hold is not None:
                await self.hold.wait()
            if item.number == 13:
                raise ValueError("13")
            self.seen.append(item.number)

        self.spec = stream.spec
        (self.processor,) = app.choose([])
        self.store = Store(lambda: 5)
        self.group: Group = self.store.register(self.processor.keys(0))

    def life(self) -> Life:
        def raised(*what: Any) -> None:
            self.raised.append(what)

        life = Life(self.processor, self.store, VirtualTime(), raised, self.failed.append)
        life.backend.open = True
        return life

    def send(self, number: int) -> None:
        entry = self.spec.encode(Item(number=number))
        self.store.run(
            append(self.spec.prefix(0), self.spec.contract, 99, "refuse", "", 1, [entry])
        )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it looks at sets no event
            await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_it_processes_what_it_is_granted_and_releases_it(bench: Bench) -> None:
    bench.send(1)
    life = bench.life()
    life.grant({0: bench.group})
    assert life.claiming
    life.grant({0: bench.group})  # It is claimed already.
    await until(lambda: bench.group.checkpoint != "0-0")
    assert (bench.seen, list(life.queues), bench.group.grant) == ([1], [0], 1)
    assert not life.claiming
    await life.release(0)
    assert (bench.group.released, list(life.queues)) == (True, [])
    life.grant({0: bench.group})
    await until(lambda: not bench.group.released)
    assert bench.group.grant == 2
    await life.end()
    assert (bench.group.released, bench.group.unclean) == (True, 0)


async def test_a_partition_whose_handler_has_an_event_is_not_released_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life_module, "END", 0.01)
    bench.hold = asyncio.Event()
    bench.send(1)
    life = bench.life()
    life.grant({0: bench.group})
    await until(lambda: life.queues and life.queues[0].state.current)
    with pytest.raises(NotDrained, match="processor work, partition 0 still has an event"):
        await life.release(0)
    bench.hold.set()
    await until(lambda: bench.group.released)
    await life.end()


async def test_one_that_is_killed_releases_nothing(bench: Bench) -> None:
    bench.send(1)
    life = bench.life()
    life.backend.holds_commits = True
    life.grant({0: bench.group})
    await until(lambda: bench.seen)
    await life.kill()
    assert (bench.group.released, bench.group.checkpoint) == (False, "0-0")
    heir = bench.life()
    heir.grant({0: bench.group})
    await until(lambda: bench.group.checkpoint != "0-0")
    assert bench.seen == [1, 1]
    await heir.end()


async def test_what_a_handler_raises_is_noted(bench: Bench) -> None:
    bench.send(13)
    life = bench.life()
    life.grant({0: bench.group})
    await until(lambda: bench.group.quarantined)
    await life.end()
    ((name, partition, error),) = bench.raised
    assert (name, partition, type(error), bench.failed) == ("work", 0, ValueError, [])
