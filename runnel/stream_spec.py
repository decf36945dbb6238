"""`StreamSpec`, the declaration of a stream, and what a stream needs of a producer. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from runnel import keys
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import Hasher, key_bytes
from runnel.delayed import Delayed, Due
from runnel.errors import ConfigError, PartitionKeyError
from runnel.protocol import Sink, StreamContract, limits
from runnel.record import RecordType
from runnel.record.messages import exactly, one_line
from runnel.retention import Retention

R = TypeVar("R")


class Sent(NamedTuple):
    """The partition and the id of an event that was sent."""

    partition: int
    id: str


class StreamSpec(Generic[R]):
    """The declaration of a stream: its name, its record and its partitions. No I/O.

    `source` is the stream whose partitions it uses. That is another stream if the stream is
    derived: then the keys of both are in the same slots, and one script can write to both.
    `retention` says how long events stay.
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
        retention: Retention = Retention(),  # noqa: B008 - It is immutable.
    ) -> None:
        self.app = app
        self.name = keys.check_name("stream", name)
        self.codec = codec
        self.partition_by = partition_by
        self.partition_count = partition_count
        self.partition_size = partition_size
        self.hasher = hasher
        self.source = source or name
        self.retention = retention
        #: Its size and age, as scripts take them.
        self.limits = limits(partition_size, retention.max_age_ms)
        #: The properties that must be the same for all clients.
        self.contract = StreamContract(partition_count, hasher.name)
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
        """The prefix of the keys of one partition."""
        return keys.partition(self.app, self.source, partition, self.name)

    def key(self, record: R) -> bytes:
        """The key of a record. Raises PartitionKeyError, or what `partition_by` raises."""
        return key_bytes(self._key(record))

    def partition(self, record: R) -> int:
        """The partition of a record. Raises PartitionKeyError if it has no usable key."""
        try:
            return self.hasher(key_bytes(self._key(record))) % self.partition_count
        except Exception as error:  # Also from the user's function.
            raised = f"partition_by raised {type(error).__name__}: {one_line(error)}"
            problem = error if isinstance(error, PartitionKeyError) else raised
            raise PartitionKeyError(f"stream {self.name}, {exactly(record)}: {problem}") from error

    def sink(self, partition: int) -> Sink:
        """A partition, as a target of commits."""
        derived = self.source != self.name
        return Sink(
            self.prefix(partition),
            self.contract,
            self.partition_size,
            derived,
            self.retention.max_age_ms,
            self.retention.when_full,
        )

    def encode(self, record: R, headers: Mapping[str, str] | None = None) -> list[bytes]:
        """The stream entry of a record: fields and values in turn. Raises EncodeError."""
        return self.codec.encode(record, headers)


class Sender(Protocol):
    """What a stream needs of a producer."""

    async def send(
        self,
        stream: StreamSpec[Any],
        records: Sequence[Any],
        *,
        headers: dict[str, str] | None = None,
        max_bytes: int,
        wait: bool | float = False,
        drop_oldest: bool = False,
    ) -> list[Sent]:
        """Send records. Returns their partitions and ids in the same order."""
        ...

    async def send_once(
        self,
        stream: StreamSpec[Any],
        records: Sequence[Any],
        dedupe: object,
        window: float,
        *,
        headers: dict[str, str] | None = None,
        max_bytes: int,
        wait: bool | float = False,
        drop_oldest: bool = False,
    ) -> list[Sent]:
        """Send one record under a key, unless one was sent under it."""
        ...

    async def send_later(
        self, stream: StreamSpec[Any], records: Sequence[Any], due: Due, **options: Any
    ) -> list[Delayed]:
        """Send records that enter the log when they are due."""
        ...

    async def cancel(self, stream: StreamSpec[Any], delayed: Delayed) -> bool:
        """Remove an event that waits. Returns whether it did."""
        ...
