"""Processes that send with the shipped producer, and check its results against the log."""

from __future__ import annotations

import asyncio
import random

from redis.exceptions import RedisError

from runnel.delayed import Due
from runnel.errors import Full, OutOfOrder
from runnel.producer.producer import Producer
from runnel.protocol.scripts import Scripts
from tests.simulation.application import Application
from tests.simulation.client import SimClient
from tests.simulation.items import Item
from tests.simulation.loop import Process
from tests.simulation.trace import Violation

#: Seconds for which a producer repeats a send without a reply.
DELIVERY_TIMEOUT = 10.0
#: The most records of one run, so that no run takes long.
MAX_ITEMS = 400


class Producers:
    """All producers of one run."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.world = application.world
        self.processes: list[Process] = []
        self.sending = True
        #: Partitions to which the last round of sends has not sent yet.
        self.unsent: set[int] = set()
        self._numbers = 0

    def start(self, name: str) -> None:
        """Start a process that sends from time to time."""
        process = Process(name)
        self.processes.append(process)
        self.world.spawn(process, lambda: self._send_periodically(process))

    async def _send_periodically(self, process: Process) -> None:
        s = self.world.scenario
        rng = random.Random(f"{s.seed} {process}")
        producer = Producer(Scripts(SimClient(self.world.network)), DELIVERY_TIMEOUT)
        while self.sending:
            await asyncio.sleep(rng.expovariate(1 / s.send_every))
            if self.sending and self._numbers < MAX_ITEMS:
                keys = (rng.randrange(3 * s.partitions) for _ in range(rng.randint(1, s.max_send)))
                items = [self._item(rng, f"k{key}") for key in keys]
                if rng.random() < s.delayed:
                    await self._send_later(producer, items, rng)
                else:
                    await self._send(producer, items)

    def _item(self, rng: random.Random, key: str) -> Item:
        s = self.world.scenario
        self._numbers += 1
        fails = rng.randint(1, 3) if rng.random() < s.failing else 0
        return Item(
            number=self._numbers,
            key=key,
            work=round(rng.uniform(*s.work), 4),
            fails=-1 if rng.random() < s.poisonous else fails,
            kills=rng.randint(1, 4) if rng.random() < s.deadly else 0,
            filling="x" * s.filling,
        )

    async def _send_later(self, producer: Producer, items: list[Item], rng: random.Random) -> None:
        """Delay items, check the receipts, and cancel some of them."""
        s, spec, history = self.world.scenario, self.application.stream.spec, self.world.history
        rollbacks, judge = history.rollbacks, self.world.judge
        due = Due("delay", round(rng.random() * s.longest_delay * 1000))
        if rng.random() < 0.3:
            due = Due("at", judge.now_ms + round(rng.uniform(-1, 1) * s.longest_delay * 1000))
        wait = 1.0 if s.wait_for_room else False
        try:
            receipts = await producer.send_later(spec, items, due, max_bytes=100_000, wait=wait)
            for item, receipt in zip(items, receipts, strict=True):
                place = judge.model.at(spec.prefix(receipt.partition))
                at, order = receipt.parts()
                if place.delayed_ever.get(order) != (at, tuple(spec.encode(item))):
                    if rollbacks == history.rollbacks:
                        text = f"{item!r} does not wait at {receipt}, which the send returned"
                        self.world.loop.failure = Violation("S6", text)
                    return
                if rng.random() < s.cancelled:
                    cancelled = await producer.cancel(spec, receipt)
                    if cancelled and order in place.delayed and rollbacks == history.rollbacks:
                        text = f"{receipt} was cancelled, and waits"
                        self.world.loop.failure = Violation("S6", text)
        except (RedisError, OSError, Full):
            return

    async def _send(self, producer: Producer, items: list[Item]) -> bool:
        """Send items and check the returned ids. Returns False if the send failed."""
        s, spec, history = self.world.scenario, self.application.stream.spec, self.world.history
        rollbacks = history.rollbacks
        try:
            sent = await producer.send(
                spec,
                items,
                max_bytes=100_000,
                wait=1.0 if s.wait_for_room else False,
                drop_oldest=s.drop_oldest,
            )
        except (RedisError, OSError, Full, OutOfOrder):
            return False
        for item, where in zip(items, sent, strict=True):
            entry = self.world.judge.model.at(spec.prefix(where.partition)).known.get(where.id)
            if entry != tuple(spec.encode(item)) and rollbacks == history.rollbacks:
                text = f"{item!r} is not at {where}, which the send returned"
                self.world.loop.failure = Violation("S6", text)
        return True

    def sends_to(self, prefix: str) -> bool:
        """Is this a partition of the stream to which producers send?"""
        return prefix.endswith(f"}}:{self.application.stream.name}")

    def send_some(self, prefix: str, count: int) -> None:
        """Send `count` events to one partition, in one call that may fail."""
        spec, number = self.application.stream.spec, 0
        while spec.prefix(spec.partition(Item(number=0, key=f"some{number}"))) != prefix:
            number += 1
        items = [Item(number=self._numbers + i + 1, key=f"some{number}") for i in range(count)]
        self._numbers += count
        process = Process(f"some{self._numbers}")

        async def send() -> None:
            await self._send(
                Producer(Scripts(SimClient(self.world.network)), DELIVERY_TIMEOUT), items
            )

        self.world.spawn(process, send)

    def send_to_all(self, name: str) -> None:
        """Send one event to each partition, and repeat each send until it succeeds."""
        process, keys, number = Process(name), dict[int, str](), 0
        while len(keys) < self.world.scenario.partitions:
            item = Item(number=0, key=f"last{number}")
            keys.setdefault(self.application.stream.spec.partition(item), item.key)
            number += 1
        self.unsent = set(keys)

        async def send() -> None:
            producer = Producer(Scripts(SimClient(self.world.network)), DELIVERY_TIMEOUT)
            for partition, key in sorted(keys.items()):
                self._numbers += 1
                item = Item(number=self._numbers, key=key)
                sent = await self._send(producer, [item])
                while not sent:
                    await asyncio.sleep(0.5)
                    sent = await self._send(producer, [item])
                self.unsent.discard(partition)

        self.world.spawn(process, send)
