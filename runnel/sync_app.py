"""`SyncApp`: sends and reads for code without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Never, TypeVar, overload
from uuid import UUID

from runnel.background.sync_calls import refuse_in_a_loop, run_sync
from runnel.delayed import Delayed
from runnel.producer.numbered_producer import NumberedProducer, Owner
from runnel.stream import Sent, Stream
from runnel.table import Table

R = TypeVar("R")
V = TypeVar("V")


class SyncApp:
    """An app for code without an event loop, such as views, threads and scripts. Made by
    `App.sync`.

    Any number of threads may use one object, and so may forks. Each call returns once it is
    acknowledged, so there is nothing to flush. ``with`` closes the connections at the end, which a
    script needs not, because they are closed when the process ends. A later call opens new ones.

    Where an event loop runs, each call raises LoopRunning: see `Stream.send_sync`.
    """

    def __init__(self, app: Owner, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._app = app
        self._close = close

    @overload
    def send(
        self,
        stream: Stream[R],
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        dedupe: str | bytes | int | UUID | None = None,
    ) -> list[Sent]: ...

    @overload
    def send(
        self,
        stream: Stream[R],
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        dedupe: str | bytes | int | UUID | None = None,
        at: datetime,
    ) -> list[Delayed]: ...

    @overload
    def send(
        self,
        stream: Stream[R],
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        dedupe: str | bytes | int | UUID | None = None,
        delay: float | timedelta,
    ) -> list[Delayed]: ...

    def send(
        self,
        stream: Stream[R],
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        dedupe: str | bytes | int | UUID | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
    ) -> list[Sent] | list[Delayed]:
        """`Stream.send_sync`: send records, and return the partition and id of each; with `at` or
        `delay` a receipt."""
        options: dict[str, Any] = {"headers": headers, "wait": wait, "dedupe": dedupe}
        if at is not None or delay is not None:
            options |= {"at": at, "delay": delay}
        if drop_oldest is not False:
            options["drop_oldest"] = drop_oldest
        found: list[Sent] | list[Delayed]
        found = stream.send_sync(*records, **options)
        return found

    def cancel(self, stream: Stream[Any], delayed: Delayed) -> bool:
        """`Stream.cancel_sync`: cancel an event that was sent with `at` or `delay`."""
        return stream.cancel_sync(delayed)

    def read(self, table: Table[V], key: Any, *, of: Any = None) -> V:
        """The value of a key that was last committed, else the default: see `Table.read`."""
        return run_sync(partial(table.read, key, of=of), f"`await {table.name}.read(…)`")

    def read_many(self, table: Table[V], keys: Iterable[Any], *, of: Any = None) -> dict[Any, V]:
        """What was last committed for several keys: see `Table.read_many`."""
        instead = f"`await {table.name}.read_many(…)`"
        return run_sync(partial(table.read_many, list(keys), of=of), instead)

    def producer(self, *, id: str) -> SyncProducer:
        """A numbered producer: see `App.producer`. Raises ConfigError."""
        return SyncProducer(NumberedProducer(self._app, id))

    def close(self) -> None:
        """Close the connections of all threads to this app. A later call opens new ones."""
        run_sync(self._close, "`await app.close()`")

    def __enter__(self) -> SyncApp:
        refuse_in_a_loop("`async with app:` and `await stream.send(…)`")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SyncProducer:
    """A numbered producer for code without an event loop. Made by `SyncApp.producer`."""

    def __init__(self, producer: NumberedProducer) -> None:
        self.id = producer.id
        self._producer = producer

    def send(
        self,
        stream: Stream[R],
        *records: R,
        number: int | Iterable[int],
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        **options: Never,
    ) -> list[Sent | None]:
        """Send records under a number, each at most once: see `NumberedProducer.send`."""
        call = partial(
            self._producer.send,
            stream,
            *records,
            number=number,
            headers=headers,
            wait=wait,
            drop_oldest=drop_oldest,
            **options,
        )
        return run_sync(call, "`await producer.send(…)`")

    def last(self, stream: Stream[Any]) -> int | None:
        """The largest number that the stream remembers: see `NumberedProducer.last`."""
        return run_sync(partial(self._producer.last, stream), "`await producer.last(…)`")
