"""What is left to process, in words."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from runnel.protocol import PartitionKeys
from runnel.testing.left import described
from runnel.testing.store import Store


def place(store: Store, partition: int, events: int = 1) -> Any:
    group = store.register(PartitionKeys(f"runnel:{{a:s:{partition}}}:s", "work"))
    for number in range(events):
        store.logs[group.keys.log].add(number, 5, [b"f", b"v"])
    return SimpleNamespace(processor=SimpleNamespace(name="work"), partition=partition, group=group)


def queue(*current: bytes) -> Any:
    return SimpleNamespace(state=SimpleNamespace(current=[[each, []] for each in current]))


async def test_the_handler_the_events_and_the_line_are_named() -> None:
    never = asyncio.Event()

    async def handler() -> None:
        await asyncio.wait_for(never.wait(), None)

    task = asyncio.create_task(handler(), name="work/3")
    await asyncio.sleep(0)
    store = Store(lambda: 5)
    text = described([place(store, 3, 2)], lambda _: queue(b"5-0", b"5-1"), store)
    assert "processor work, partition 3: 2 events are not committed" in text
    assert f"the handler has event 5-0 and 1 more, at {__file__}:" in text
    assert text.endswith("in handler")
    never.set()
    await task


def test_a_commit_that_waits_and_a_partition_that_nobody_claims_are_named() -> None:
    store = Store(lambda: 5)
    one, two = place(store, 1), place(store, 2)
    one.group.waits = "alerts: it is full"
    text = described([one, two], lambda each: queue() if each is one else None, store)
    assert "partition 1: 1 event is not committed; its commit waits: alerts: it is full" in text
    assert "partition 2: 1 event is not committed, and it was not claimed" in text


def test_many_partitions_are_counted() -> None:
    store = Store(lambda: 5)
    places = [place(store, number) for number in range(9)]
    assert described(places, lambda _: queue(), store).endswith("and 4 more partitions")
