"""What a test can see of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from runnel import keys
from runnel.harness import Failure
from runnel.processor import Processor
from runnel.protocol import read_parked
from runnel.stream import StreamSpec
from runnel.testing.failures import Failures
from runnel.testing.store import Store
from runnel.testing.stored import Group


class Place:
    """One partition of one processor."""

    def __init__(self, processor: Processor, partition: int, group: Group) -> None:
        self.processor = processor
        self.partition = partition
        self.group = group


class Visible:
    """A store, and the processors that read its streams."""

    def __init__(self, store: Store, processors: Sequence[Processor]) -> None:
        self.store = store
        self._processors = processors
        self._failed = Failures(store)
        #: Log -> the partition of each processor that reads it.
        self._readers: defaultdict[str, list[Place]] = defaultdict(list)
        for each in processors:
            for partition in range(each.stream.partition_count):
                names = each.keys(partition)
                self._readers[names.log].append(Place(each, partition, store.register(names)))

    @property
    def failures(self) -> list[Failure]:
        """Each attempt that failed, in order."""
        return self._failed.all

    def entries(self, spec: StreamSpec[Any]) -> list[tuple[int, str, Sequence[bytes]]]:
        """Partition, id and fields of all that was sent to a stream, in order."""
        found = [
            (each.place, partition, each.id, each.fields)
            for partition in range(spec.partition_count)
            if (log := keys.log(spec.prefix(partition))) in self.store.logs
            for each in self.store.logs[log].entries
        ]
        return [each[1:] for each in sorted(found, key=lambda each: each[0])]

    def delayed(self, spec: StreamSpec[Any]) -> list[Sequence[bytes]]:
        """The fields of what waits for its time, in the order of their times."""
        found = [
            each
            for partition in range(spec.partition_count)
            for each in self.store.due.get(keys.log(spec.prefix(partition)), ())
        ]
        return [each.entry for each in sorted(found, key=lambda each: each.due)]

    def table(self, key: str) -> dict[bytes, bytes]:
        """What the table with this key has."""
        return dict(self.store.tables.get(key, {}))

    def parked(self, processor: Processor) -> list[tuple[int, str, Sequence[bytes]]]:
        """Partition, id and fields of each parked event that is not to be tried again."""
        return self._set_aside(processor, postponed=False)

    def postponed(self, processor: Processor) -> list[tuple[int, str, Sequence[bytes]]]:
        """Partition, id and fields of each event that waits for its next try."""
        return self._set_aside(processor, postponed=True)

    def _set_aside(
        self, processor: Processor, *, postponed: bool
    ) -> list[tuple[int, str, Sequence[bytes]]]:
        found = [
            (each.place, place.partition, read_parked(each.id, each.fields))
            for place in self._places(processor)
            for each in place.group.still_parked()
            if (each.id in place.group.due) is postponed
        ]
        found.sort(key=lambda each: each[0])
        return [(partition, event.event, event.fields) for _, partition, event in found]

    def quarantined(self, processor: Processor) -> list[Failure]:
        """The last failure of each quarantined partition."""
        return [
            self._failed.last[processor.name, place.partition]
            for place in self._places(processor)
            if place.group.quarantined
        ]

    def lag(self, processor: Processor) -> int:
        """How many events are not committed."""
        return sum(self.store.lag(place.group) for place in self._places(processor))

    def _places(self, processor: Processor) -> list[Place]:
        """Its partitions, of which there are none if it does not run in this test."""
        return [
            place
            for partition in range(processor.stream.partition_count)
            for place in self._readers.get(processor.keys(partition).log, ())
            if place.processor.name == processor.name
        ]
