"""What the model of the simulator stores: the keys of partitions, in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from runnel.protocol import ids
from tests.simulation.counting import Truth

#: An id as a pair of integers.
parts = lru_cache(100_000)(ids.parts)

Fields = tuple[bytes, ...]
#: The fields of meta that all clients must agree on.
CONTRACT = ("protocol", "partitions", "hash")


@dataclass
class Log:
    """A Redis stream: its entries by id, and what XINFO reports."""

    entries: dict[str, Fields] = field(default_factory=dict)
    added: int = 0
    last: str = "0-0"
    #: Consumer group -> last delivered id, entries read.
    groups: dict[str, tuple[str, int]] = field(default_factory=dict)

    def first(self) -> str:
        return next(iter(self.entries), "0-0")

    def after(self, id_: str) -> list[str]:
        """The ids of the entries after this id."""
        return [each for each in self.entries if parts(each) > parts(id_)]


@dataclass
class Partition:
    """One partition of one stream."""

    log: Log | None = None
    meta: dict[str, str] = field(default_factory=dict)
    producers: dict[str, str] = field(default_factory=dict)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Table -> its fields.
    tables: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    #: Processor -> what its table must have, by the events that were committed.
    truths: dict[str, Truth] = field(default_factory=dict)
    #: Processor -> how many items of each key its commits have emitted to the stream with other
    #: keys.
    moved: dict[str, Counter[str]] = field(default_factory=dict)
    #: Processor -> its outbox, and for each partition in another slot, by its prefix, what
    #: commits have written there for it.
    outboxes: dict[str, Log] = field(default_factory=dict)
    owed: dict[str, dict[str, list[Fields]]] = field(default_factory=dict)
    #: Sender -> what is remembered of it, and how many of its entries were added here.
    numbers: dict[str, str] = field(default_factory=dict)
    forwarded: Counter[str] = field(default_factory=Counter)
    #: Order number -> due time and entry of each delayed event that waits, and of all ever.
    delayed: dict[int, tuple[int, Fields]] = field(default_factory=dict)
    delayed_ever: dict[int, tuple[int, Fields]] = field(default_factory=dict)
    #: Key of a request to delay -> due time, first order number and count; the stream's mark then.
    requests: dict[str, tuple[tuple[int, int, int], str]] = field(default_factory=dict)
    #: All entries ever added, including removed ones.
    known: dict[str, Fields] = field(default_factory=dict)
    #: Entries that a worker can have read, though this history does not have them.
    elsewhere: dict[str, Fields] = field(default_factory=dict)
    #: Processor -> ids that were removed before it had committed them: those that it has not yet
    #: counted as lost, and those that it has.
    uncounted: dict[str, set[str]] = field(default_factory=dict)
    counted: dict[str, set[str]] = field(default_factory=dict)
    #: Ids that were deleted one by one. Only the counts show that, no read does.
    deleted: set[str] = field(default_factory=set)
    #: Processor -> ids that an operator has skipped by a seek.
    skipped_by_seek: dict[str, set[str]] = field(default_factory=dict)
    #: Processors that were registered here and not removed, in order.
    processors: dict[str, None] = field(default_factory=dict)
    #: Keys were lost: the counts need not be exact any more.
    keys_lost: bool = False

    def shown(self, id_: str) -> Fields:
        """An entry that a worker has read."""
        return self.known.get(id_) or self.elsewhere[id_]

    def remove_entries(self, ids: Iterable[str]) -> None:
        """Remove entries that retention, an operator or a fault removed."""
        for id_ in ids:
            del self.log.entries[id_]  # type: ignore[union-attr]
            for processor in self.processors:
                meta_checkpoint = self.meta.get(f"checkpoint:{processor}", "0-0")
                checkpoint = self.states.get(processor, {}).get("checkpoint", meta_checkpoint)
                if parts(id_) > parts(checkpoint):
                    self.uncounted.setdefault(processor, set()).add(id_)


class Refused(Exception):
    """The script must refuse the call with this error code."""


def split(key: str) -> tuple[str, str, str]:
    """The parts of a key: the prefix of its partition, its kind, and its processor."""
    prefix, _, rest = key.partition("}:")
    stream, _, kind = rest.partition(":")
    kind, _, processor = kind.partition(":")
    return f"{prefix}}}:{stream}", kind, processor
