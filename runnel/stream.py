"""Streams: declared once, sent to from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from runnel import keys
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import Hasher, key_bytes
from runnel.codec.serializers import MsgpackSerializer
from runnel.dead_letter import DeadLetter
from runnel.errors import ConfigError, PartitionKeyError
from runnel.protocol import StreamContract
from runnel.record import RecordType, adapt
from runnel.record.messages import exactly, one_line
from runnel.settings import Settings

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


class Sender(Protocol):
    """What a stream needs of the producer that sends for it."""

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
        """Send records; returns their partitions and ids in the same order."""
        ...


class StreamOwner(Protocol):
    """What a stream needs of the app that declared it."""

    settings: Settings
    streams: dict[str, Stream[Any]]

    def producer(self) -> Sender:
        """What sends for the app in the running event loop."""
        ...

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Enter a stream."""
        ...

    def configure(self, **settings: Any) -> None:
        """Override settings."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Stream(Generic[R]):
    """A stream of one app, to send to. Made by `App.stream`."""

    def __init__(self, app: StreamOwner, spec: StreamSpec[R]) -> None:
        self.app = app
        self.spec = spec
        self.name = spec.name

    async def send(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
    ) -> list[Sent]:
        """Send records, in order per key; returns the partition and id of each.

        A repeat after a lost reply sends nothing twice. If a partition is full the call fails with
        `Full`, which names the processor that holds it back; `wait` waits for room instead, for
        ever or for so many seconds from now, and `drop_oldest` drops events that no processor has
        passed. Raises EncodeError, RecordTooLarge, PartitionKeyError (nothing was sent), Full,
        Mismatch, redis-py's errors where Redis does not answer, and ConfigError for a derived
        stream, which only processors of its source write to.

        Each partition takes its records by itself, so an error may come after some were sent: its
        attribute `sent` is a list with the place of each record that was, and None for the others.
        Where Redis did not answer, any of these may be there all the same.
        """
        if self.spec.source != self.spec.name:
            raise ConfigError(
                f"stream {self.name} is derived from {self.spec.source}: only processors of that "
                "stream write to it"
            )
        return await self.app.producer().send(
            self.spec,
            records,
            headers=headers,
            max_bytes=self.app.settings.max_record_bytes,
            wait=wait,
            drop_oldest=drop_oldest,
        )

    def dead_letters(self, processor: str) -> Stream[DeadLetter]:
        """The stream that holds what a processor of this stream has set aside, if it has a
        `DeadLetterMiddleware` without a sink of its own. Another processor may read it."""
        name = f"{self.name}.{keys.check_name('processor', processor)}.dead"
        return self.app.streams.get(name) or self.derive(name, DeadLetter)

    def original(self, letter: DeadLetter) -> R:
        """The record in a dead letter of this stream. Raises DecodeError if it cannot be read."""
        return self.spec.codec.decode(letter.fields)

    def derive(self, name: str, record: type[Any]) -> Stream[Any]:
        """A stream with the partitions of this one: the `sink` of a `DeadLetterMiddleware`, written
        to in the commit that passes the event. Raises ConfigError if its name is taken."""
        codec = EntryCodec(adapt(record), MsgpackSerializer())
        spec: StreamSpec[Any] = StreamSpec(
            self.spec.app,
            name,
            codec,
            lambda _: None,
            self.spec.partition_count,
            self.spec.partition_size,
            self.spec.hasher,
            source=self.spec.source,
        )
        return self.app.add(Stream(self.app, spec))
