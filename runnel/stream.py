"""`Stream`, which records are sent to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, Never, Protocol, TypeVar, Unpack, overload
from uuid import UUID

from typing_extensions import TypeForm

from runnel import keys
from runnel.background.sync_calls import run_sync
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.dead_letter import DeadLetter
from runnel.delayed import Delayed, due_of, no_time
from runnel.errors import ConfigError, NotInHandler, RecordTooLarge
from runnel.observer import Observer, tell
from runnel.record import adapt
from runnel.retention import Retain, Retention
from runnel.settings import GivenSettings, Settings, check
from runnel.stream_spec import Sender, Sent, StreamSpec

__all__ = ["Sender", "Sent", "Stream", "StreamOwner", "StreamSpec"]

R = TypeVar("R")
D = TypeVar("D")

#: What a handler does instead of an emit that is due later.
_AT_ONCE = (
    "what is emitted enters its stream with the commit of the event. `await {}.send(…, delay=…)` "
    "sends at once what is due later, and under dedupe=f'…-{{event.partition}}-{{event.id}}' only "
    "once, also if the event is retried"
)


class StreamOwner(Protocol):
    """What a stream needs of the app that declared it."""

    settings: Settings
    streams: dict[str, Stream[Any]]
    observers: tuple[Observer, ...]

    def producer(self) -> Sender:
        """The app's producer in the running event loop."""
        ...

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Add a stream."""
        ...

    def configure(self, **settings: Unpack[GivenSettings]) -> None:
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

    def __repr__(self) -> str:
        return f"Stream({self.name!r}, record={self.spec.codec.record_type.name})"

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
        most, window = settings.max_record_bytes, settings.dedupe_window
        if dedupe is None and at is None and delay is None:  # The usual case, in the fewest steps.
            return await producer.send(
                self.spec,
                records,
                headers=headers,
                max_bytes=most,
                wait=wait,
                drop_oldest=drop_oldest,
            )
        options: dict[str, Any] = {"headers": headers, "max_bytes": most, "wait": wait}
        options["drop_oldest"] = drop_oldest
        if at is None and delay is None:
            return await producer.send_once(self.spec, records, dedupe, window, **options)
        once = {"dedupe": dedupe, "window": window}
        return await producer.send_later(self.spec, records, due_of(at, delay), **once, **options)

    @overload
    def send_sync(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        dedupe: str | bytes | int | UUID | None = None,
    ) -> list[Sent]: ...

    @overload
    def send_sync(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        dedupe: str | bytes | int | UUID | None = None,
        at: datetime,
    ) -> list[Delayed]: ...

    @overload
    def send_sync(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        dedupe: str | bytes | int | UUID | None = None,
        delay: float | timedelta,
    ) -> list[Delayed]: ...

    def send_sync(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        dedupe: str | bytes | int | UUID | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
    ) -> list[Sent] | list[Delayed]:
        """`send`, for code without an event loop: a view of Django or Flask, a thread, a script.

        It returns once the records are acknowledged. Any thread may call it, and a plain function
        that a worker runs. One event loop in the background sends for the whole process; a fork
        starts its own. If the wait is interrupted, as by Ctrl-C, what was sent may have arrived.

        The arguments and errors are those of `send`. Also raises LoopRunning where an event loop
        runs, except in a cell of a notebook: there, `await send(…)`.
        """
        options: dict[str, Any] = {"headers": headers, "wait": wait, "dedupe": dedupe}
        if at is not None or delay is not None:
            options |= {"at": at, "delay": delay}
        if drop_oldest is not False:
            options["drop_oldest"] = drop_oldest
        call: Callable[[], Coroutine[Any, Any, list[Sent] | list[Delayed]]]
        call = partial(self.send, *records, **options)
        return run_sync(call, f"`await {self.name}.send(…)`")

    async def cancel(self, delayed: Delayed) -> bool:
        """Cancel an event that was sent with `at` or `delay`, by its receipt.

        Returns True if it waited: then it never enters the log. Returns False if it has entered the
        log, or was cancelled before. Raises redis-py's errors if Redis does not answer, also if
        nobody knows whether this call has removed it.
        """
        return await self.app.producer().cancel(self.spec, delayed)

    def cancel_sync(self, delayed: Delayed) -> bool:
        """`cancel`, for code without an event loop: see `send_sync`."""
        return run_sync(partial(self.cancel, delayed), f"`await {self.name}.cancel(…)`")

    def emit(
        self, record: R, *, headers: Mapping[str, str] | None = None, **options: Never
    ) -> None:
        """Send a record with the commit of the event that the handler has: with it, or not at all.

        Only handlers emit; `send` sends from anywhere, at once. If the event fails, is retried or
        is given up, nothing of that try is sent; once it is committed, the record was sent, exactly
        once. Nothing waits here: a partition that is full holds back the commit, and so the
        partition of the handler, until there is room. Records that one partition emits for one key
        keep their order. A derived stream gets the record in the partition of the event.

        Raises NotInHandler; EncodeError, RecordTooLarge or PartitionKeyError; TooManyWrites if no
        commit could hold what the current events emit; ConfigError for a stream that is derived
        from another one than that of the event, or belongs to another app; also for `at`, `delay`.
        """
        self._no_time(options)
        self._emit(CURRENT_EVENT.get(), record, headers)

    def _no_time(self, options: Mapping[str, object]) -> None:
        """Raise ConfigError for the options `at` and `delay` of an emit."""
        no_time("emit", options, _AT_ONCE.format(self.name))

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
        for each in self.app.observers:
            headers = tell(each.emit_headers, headers, instead=headers)
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

    def derive(
        self,
        name: str,
        record: TypeForm[D],
        *,
        max_age: float | timedelta | None = None,
        retain: Retain = "always",
    ) -> Stream[D]:
        """A stream with the partitions of this one. It can be the `sink` of a
        `DeadLetterMiddleware`, which writes to it in the commit of the event. How long its events
        stay is its own affair: see `App.stream`. Raises ConfigError if its name is taken."""
        codec = EntryCodec(adapt(record), MsgpackSerializer())
        spec: StreamSpec[D] = StreamSpec(
            self.spec.app,
            name,
            codec,
            lambda _: None,
            self.spec.partition_count,
            self.spec.partition_size,
            self.spec.hasher,
            source=self.spec.source,
            retention=declared_retention(f"stream {name}", max_age, retain),
        )
        made = Stream(self.app, spec)
        self.app.add(made)
        return made


def declared_retention(where: str, max_age: float | timedelta | None, retain: Retain) -> Retention:
    """The retention that a declaration asks for. `where` is that, for people, such as
    ``stream orders``. Raises ConfigError, which names the keyword and what it may be."""
    if isinstance(max_age, timedelta):
        max_age = max_age.total_seconds()
    ms = 0 if max_age is None else round(1000 * check(where, "max_age", max_age))
    unread = check(where, "retain", retain) == "until_full"
    return Retention(ms, "drop_unread" if unread else "refuse")
