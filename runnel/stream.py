"""Streams: declared once, sent to from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from runnel import keys
from runnel.entry import EntryCodec
from runnel.errors import ConfigError, PartitionKeyError
from runnel.partitioning import Hasher, key_bytes
from runnel.protocol import Agreement
from runnel.record import RecordType
from runnel.record.problems import exactly, one_line

R = TypeVar("R")


class Sent(NamedTuple):
    """Where an event went: its partition and its id there."""

    partition: int
    id: str


class StreamSpec(Generic[R]):
    """What a stream is: its name, its record, and how it is partitioned. No I/O.

    `source` is the stream whose partitioning is used, which is the stream itself unless it is
    derived: then both live in the same slot, and one script can write to both.
    """

    def __init__(
        self,
        app: str,
        name: str,
        codec: EntryCodec[R],
        partition_by: str | Callable[[R], Any],
        partition_count: int,
        partition_size: int,
        hasher: Hasher,
        source: str | None = None,
    ) -> None:
        self.app = app
        self.name = keys.check_name("stream", name)
        self.codec = codec
        self.partition_by = partition_by
        self.partition_count = partition_count
        self.partition_size = partition_size
        self.hasher = hasher
        self.source = source or name
        #: What every client of the stream must agree on.
        self.agreement = Agreement(partition_count, hasher.name)
        record: RecordType[R] = codec.record_type
        if isinstance(partition_by, str) and (lacking := record.without_field(partition_by)):
            raise ConfigError(
                f"stream {name}: partition_by names {partition_by!r}, which is no field of "
                f"{', '.join(each.__name__ for each in lacking)}; name a field that every record "
                "of the stream has, or give a function of the record"
            )
        self._key: Callable[[R], Any] = (
            attrgetter(partition_by) if isinstance(partition_by, str) else partition_by
        )

    def prefix(self, partition: int) -> str:
        """What the keys of one partition start with."""
        return keys.partition(self.app, self.source, partition, self.name)

    def partition(self, record: R) -> int:
        """The partition a record belongs to. Raises PartitionKeyError if its key cannot be told."""
        try:
            return self.hasher(key_bytes(self._key(record))) % self.partition_count
        except Exception as error:  # Whatever a function of the user's raises, too.
            raised = f"partition_by raised {type(error).__name__}: {one_line(error)}"
            told = error if isinstance(error, PartitionKeyError) else raised
            raise PartitionKeyError(f"stream {self.name}, {exactly(record)}: {told}") from error

    def encode(self, record: R, headers: Mapping[str, str] | None = None) -> list[bytes]:
        """The entry of a record."""
        return self.codec.encode(record, headers)
