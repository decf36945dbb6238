"""What a test can see: entries in the order in which they were sent, over all partitions."""

from __future__ import annotations

import pytest

from runnel import App, Record, keys
from runnel.protocol import parked_entry
from runnel.testing.store import Store
from runnel.testing.visible import Visible


class Item(Record):
    key: str


@pytest.fixture
def app() -> App:
    made = App("depot")
    stream = made.stream("items", record=Item, partition_by="key", partition_count=3)

    @made.on(stream)
    async def work(item: Item) -> None: ...

    return made


def seen(app: App) -> Visible:
    return Visible(Store(lambda: 5), app.choose([]))


def test_entries_of_all_partitions_in_order(app: App) -> None:
    it, spec = seen(app), app.streams["items"].spec
    for place, partition in enumerate([2, 0, 2]):
        it.store.logs[keys.log(spec.prefix(partition))].add(place, 5, [b"f", b"%d" % place])
    assert it.entries(spec) == [
        (2, "5-0", [b"f", b"0"]),
        (0, "5-0", [b"f", b"1"]),
        (2, "5-1", [b"f", b"2"]),
    ]
    assert it.lag(app.choose([])[0]) == 3


def test_parked_events_as_they_were_and_what_waits_by_its_time(app: App) -> None:
    it, (processor,) = seen(app), app.choose([])
    for place, partition in enumerate([1, 0]):
        group = it.store.register(processor.keys(partition))
        group.parked.add(place, 5, parked_entry(b"k", f"{partition}-1", [b"f", b"v"]))
    assert it.parked(processor) == [(1, "1-1", [b"f", b"v"]), (0, "0-1", [b"f", b"v"])]
    for partition, due in ((0, 30), (1, 20)):
        log = processor.keys(partition).log
        it.store.due[log].add(due, [[b"f", b"%d" % due]], "one", 99)
    assert it.delayed(processor.stream) == [[b"f", b"20"], [b"f", b"30"]]


def test_a_processor_that_does_not_run_has_nothing(app: App) -> None:
    it = Visible(Store(lambda: 5), [])
    (processor,) = app.choose([])
    assert (it.lag(processor), it.parked(processor), it.quarantined(processor)) == (0, [], [])
    assert it.table("no such table") == {}
