"""`Stream`, which records are sent to, and `StreamSpec`, its declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, overload
from uuid import UUID

from runnel import keys
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import Hasher, key_bytes
from runnel.codec.serializers import MsgpackSerializer
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.dead_letter import DeadLetter
from runnel.delayed import Delayed, Due, due_of
from runnel.errors import ConfigError, NotInHandler, PartitionKeyError, RecordTooLarge
from runnel.protocol import Sink, StreamContract
from runnel.record import RecordType, adapt
from runnel.record.messages import exactly, one_line
from runnel.settings import Settings

R = TypeVar("R")


class Sent(NamedTuple):
    """The partition and the id of an event that was sent."""

    partition: int
    id: str


class StreamSpec(Generic[R]):
    """The declaration of a stream: its name, its record and its partitions. No I/O.

    `source` is the stream whose partitions it uses. That is another stream if the stream is
    derived: then the keys of both are in the same slots, and one script can write to both.
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
        return Sink(self.prefix(partition), self.contract, self.partition_size, derived)

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


class StreamOwner(Protocol):
    """What a stream needs of the app that declared it."""

    settings: Settings
    streams: dict[str, Stream[Any]]

    def producer(self) -> Sender:
        """The app's producer in the running event loop."""
        ...

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Add a stream."""
        ...

    def configure(self, **settings: Any) -> None:
        """Override settings."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Stream(Generic[R]):
    """A stream of an app. Made by `App.stream`."""

    def __init__(self, app: StreamOwner, spec: StreamSpec[R]) -> None:
        self.app = app
        self.spec = spec
        self.name = spec.name

    @overload
    async def send(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        dedupe: str | bytes | int | UUID | None = None,
    ) -> list[Sent]: ...

    @overload
    async def send(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        dedupe: str | bytes | int | UUID | None = None,
        at: datetime,
    ) -> list[Delayed]: ...

    @overload
    async def send(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        dedupe: str | bytes | int | UUID | None = None,
        delay: float | timedelta,
    ) -> list[Delayed]: ...

    async def send(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        dedupe: str | bytes | int | UUID | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
    ) -> list[Sent] | list[Delayed]:
        """Send records at once, in order for each key. Returns the partition and id of each.

        A handler that is retried, or whose worker dies, sends again: what follows from the current
        event is better sent by `emit`, with the commit of the event.

        If a reply is lost, the call is repeated, and sends nothing twice. If a partition is full,
        the call raises Full, which names the processor that has not committed the oldest events.
        `wait` waits for room instead: True without limit, a number for so many seconds.
        `drop_oldest` removes the oldest events, although they are not committed.

        `dedupe` is a natural key of the one record, such as the number of an order. If a record was
        sent under it in the last `dedupe_window` seconds, nothing is sent, and the partition and id
        of that one are returned. The partition remembers it, so both must have the same partition
        key.

        With `at`, a datetime with a time zone, or `delay`, seconds or a timedelta, the records wait
        in Redis until they are due, by its clock, and enter their partition then: never earlier,
        and in the order in which they are due. A time that is past means now; at most 366 days are
        allowed. Returns a `Delayed` for each, which `cancel` takes. A partition keeps up to
        `partition_size` of them, then Full is raised. Keys of `dedupe` are remembered apart from
        those of records that are sent at once.

        Raises EncodeError, RecordTooLarge or PartitionKeyError before anything is sent; Full;
        Mismatch; redis-py's errors if Redis does not answer; ConfigError for a derived stream, to
        which only processors of its source may write, and for an option that is wrong.

        Each partition gets its records in its own calls, so some records may have been sent when an
        error is raised. Its attribute `sent` is a list in the order of the records: a `Sent` or
        `Delayed`, or None for a record that was not sent. If Redis did not answer, it may have been
        sent all the same.
        """
        self.check_writable()
        producer, settings = self.app.producer(), self.app.settings
        options: dict[str, Any] = {
            "headers": headers,
            "max_bytes": settings.max_record_bytes,
            "wait": wait,
            "drop_oldest": drop_oldest,
        }
        if at is not None or delay is not None:
            once = {"dedupe": dedupe, "window": settings.dedupe_window}
            due = due_of(at, delay)
            return await producer.send_later(self.spec, records, due, **once, **options)
        if dedupe is not None:
            window = settings.dedupe_window
            return await producer.send_once(self.spec, records, dedupe, window, **options)
        return await producer.send(self.spec, records, **options)

    async def cancel(self, delayed: Delayed) -> bool:
        """Cancel an event that was sent with `at` or `delay`, by its receipt.

        Returns True if it waited: then it never enters the log. Returns False if it has entered the
        log, or was cancelled before. Raises redis-py's errors if Redis does not answer, also if
        nobody knows whether this call has removed it.
        """
        return await self.app.producer().cancel(self.spec, delayed)

    def emit(self, record: R, *, headers: Mapping[str, str] | None = None) -> None:
        """Send a record with the commit of the event that the handler has: with it, or not at all.

        Only handlers emit; `send` sends from anywhere, at once. If the event fails, is retried or
        is given up, nothing of that try is sent; once it is committed, the record was sent, exactly
        once. Nothing waits here: a partition that is full holds back the commit, and so the
        partition of the handler, until there is room. Records that one partition emits for one key
        keep their order. A derived stream gets the record in the partition of the event.

        Raises NotInHandler; EncodeError, RecordTooLarge or PartitionKeyError; TooManyWrites if no
        commit could hold what the current events emit; ConfigError for a stream that is derived
        from another one than that of the event, or belongs to another app.
        """
        self._emit(CURRENT_EVENT.get(), record, headers)

    def _emit(
        self, here: CurrentEvent | None, record: R, headers: Mapping[str, str] | None
    ) -> None:
        spec = self.spec
        if here is None or here.emit is None or not here.has_event():
            raise NotInHandler(
                f"stream {self.name}: a record is emitted with the commit of an event, and there "
                f"is none here: `await {self.name}.send(…)` sends at once"
            )
        if here.over is not None and here.over():
            raise NotInHandler(
                f"stream {self.name}: this handler has failed or was ended, and its events will be "
                "processed again: nothing that it still emits would be sent"
            )
        app, source, own = keys.scope(here.log)
        if spec.app != app or (spec.source != spec.name and spec.source != source):
            raise ConfigError(
                f"stream {self.name} "
                + (f"is derived from {spec.source}" if spec.app == app else "is of another app")
                + f": processors of {app}/{source} cannot emit to it; `send` to another stream"
            )
        entry = spec.encode(record, headers)
        size, most = sum(map(len, entry)), self.app.settings.max_record_bytes
        if size > most:
            raise RecordTooLarge(
                f"stream {self.name}: the record takes {size} bytes, the setting max_record_bytes "
                f"allows {most}"
            )
        here.emit(spec.sink(own if spec.source != spec.name else spec.partition(record)), entry)

    def check_writable(self) -> None:
        """Raise ConfigError if only processors may write to this stream."""
        if self.spec.source != self.spec.name:
            raise ConfigError(
                f"stream {self.name} is derived from {self.spec.source}: only processors of that "
                "stream write to it"
            )

    def dead_letters(self, processor: str) -> Stream[DeadLetter]:
        """The stream of dead letters of a processor that has a `DeadLetterMiddleware` without a
        `sink`. Another processor may read it."""
        name = f"{self.name}.{keys.check_name('processor', processor)}.dead"
        return self.app.streams.get(name) or self.derive(name, DeadLetter)

    def original(self, dead_letter: DeadLetter) -> R:
        """The record in a dead letter of this stream. Raises DecodeError if it cannot be read."""
        return self.spec.codec.decode(dead_letter.fields)

    def derive(self, name: str, record: type[Any]) -> Stream[Any]:
        """A stream with the partitions of this one. It can be the `sink` of a
        `DeadLetterMiddleware`, which writes to it in the commit of the event. Raises ConfigError if
        its name is taken."""
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
