"""The app: a namespace of streams and processors in one Redis."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import TypeForm

from runnel import keys
from runnel.codec.compressors import Compressor
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import XXH64, Hasher
from runnel.codec.serializers import MsgpackSerializer, Serializer
from runnel.connection.connect import connect
from runnel.connection.url import check_url
from runnel.declaration.declare import Options, check_parts, check_stream, checked_codecs, declare
from runnel.declaration.signatures import check_task
from runnel.errors import ConfigError
from runnel.handlers.callables import of_nothing
from runnel.middleware import Middleware
from runnel.processor import CommitMode, ExceptionPolicy, Processor
from runnel.producer.per_loop import PerLoop
from runnel.producer.producer import Producer
from runnel.protocol.scripts import Scripts
from runnel.record import adapt
from runnel.settings import Settings, check
from runnel.stream import Stream, StreamSpec
from runnel.tasks import CATCH_UP, Crontab, Task, Timer, check_cron

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=Callable[[], Any])


class App:
    """A namespace of streams, processors and tasks in one Redis.

    Settings are keywords here, else ``RUNNEL_<NAME>`` in the environment, else defaults: see
    `runnel.settings.Settings`. Raises ConfigError for a wrong name or setting.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        self.name = keys.check_name("app", name)
        self.settings = Settings.make(**settings)
        check_url(self.settings.redis_url)
        self.streams: dict[str, Stream[Any]] = {}
        self.processors: dict[str, Processor] = {}
        #: The module that the command line found the app in, for commands that messages name.
        self.module: str | None = None
        self.tasks: dict[str, Task] = {}
        self._producers = PerLoop(self._make_producer)
        #: Set once the worker that runs this app is to end: a task that goes on for ever waits for
        #: it, to end within the grace.
        self.stopping = asyncio.Event()

    def configure(self, **settings: Any) -> None:
        """Override settings, as the command line does before anything runs."""
        self.settings = self.settings.changed(**settings)
        check_url(self.settings.redis_url)

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Enter a stream. Raises ConfigError if its name is taken."""
        if stream.name in self.streams:
            raise ConfigError(
                f"app {self.name} has two streams named {stream.name!r}: declare it once, in a "
                "notebook in the cell that makes the App"
            )
        self.streams[stream.name] = stream
        return stream

    def stream(
        self,
        name: str,
        *,
        record: TypeForm[R],
        partition_by: str | Callable[[R], Any],
        partition_count: int | None = None,
        partition_size: int | None = None,
        serializer: Serializer | None = None,
        compressor: Compressor | None = None,
        compress_over: int = 256,
        hasher: Hasher | None = None,
        codecs: Iterable[Serializer | Compressor] = (),
        exclude_unset: bool = False,
    ) -> Stream[R]:
        """Declare a stream of `record` objects, partitioned by a field or a function of them.

        `record` is a class, or several in a union: ``A | B``, or with a discriminator in
        `Annotated`, which every record must come back by. With `exclude_unset` fields that were not
        set do not travel, and are unset in the record that is read: for events such as PATCH.
        `partition_size` is how many entries one partition may hold. `codecs` are further
        serializers and compressors that entries may have been written with.
        """
        where, chosen = f"stream {name}", self.settings.chosen
        check(where, "compress_over", compress_over)
        check(where, "exclude_unset", exclude_unset)
        check_parts(
            where, partition_by, serializer=serializer, compressor=compressor, hasher=hasher
        )
        codec = EntryCodec(
            adapt(record, exclude_unset),
            serializer or MsgpackSerializer(),
            compressor,
            compress_over,
            checked_codecs(where, codecs),
        )
        spec = StreamSpec(
            self.name,
            name,
            codec,
            partition_by,
            chosen(where, "partition_count", partition_count),
            chosen(where, "partition_size", partition_size),
            hasher or XXH64(),
        )
        return self.add(Stream(self, spec))

    def processor(
        self,
        stream: Stream[Any],
        *,
        name: str | None = None,
        exception_policy: ExceptionPolicy | str = ExceptionPolicy.QUARANTINE,
        retries: int | None = None,
        backoff: float | None = None,
        backoff_max: float | None = None,
        commit: CommitMode = "auto",
        prefetch: int | None = None,
        middleware: Sequence[Middleware] = (),
        start: str = "earliest",
        timeout: float | None = None,
    ) -> Callable[[F], F]:
        """Declare the decorated ``async def f(events: Events[R])`` as a processor of `stream`.

        It runs once for each partition that a worker holds, and must iterate until its events end.
        `name`, by default the function's, is what its position is kept under: another name is
        another processor, which starts anew. `exception_policy` may be named: "quarantine", "halt"
        or "ignore". `start` says where a processor that is new to the stream begins:
        "earliest" (or "0"), at the oldest event still there, or "latest" (or "$"), at the next to
        come. Raises ConfigError for a declaration
        that cannot work.
        """
        options = Options(
            name,
            exception_policy,
            retries,
            backoff,
            backoff_max,
            commit,
            prefetch,
            middleware,
            start,
            timeout,
        )
        return self._declare(stream, "processor", options)

    def on(self, stream: Stream[Any], **options: Any) -> Callable[[F], F]:
        """Declare the decorated function of one record, async or plain, as a processor.

        A plain ``def`` runs in a thread; whatever awaitable it returns is awaited. Options are
        those of `processor`.
        """
        known = {each.name for each in fields(Options)}
        for each in options.keys() - known:
            raise ConfigError(f"@app.on has no option {each!r}; it has {', '.join(sorted(known))}")
        return self._declare(stream, "on", Options(**options))

    def _declare(self, stream: Stream[Any], decorator: str, options: Options) -> Callable[[F], F]:
        check_stream(stream, decorator)
        if stream.app is not self:
            raise ConfigError(f"@app.{decorator}: the stream {stream.name} belongs to another app")

        def register(function: F) -> F:
            made = declare(self.processors, self.settings, stream, function, decorator, options)
            self.processors[made.name] = made
            return function

        return register

    def task(self, *, on_leader: bool = False) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` once in each worker, or once it leads."""
        check("a task", "on_leader", on_leader)

        def register(function: T) -> T:
            name = check_task(function, "task")
            self._add_task(Task(name, of_nothing(function), on_leader))
            return function

        return register

    def timer(self, *, interval: float, on_leader: bool = False) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` every `interval` seconds, never two at a time."""
        check("a timer", "interval", interval)
        check("a timer", "on_leader", on_leader)

        def register(function: T) -> T:
            name = check_task(function, "timer")
            self._add_task(Timer(name, of_nothing(function), on_leader, interval=interval))
            return function

        return register

    def crontab(
        self,
        spec: str,
        *,
        timezone: str = "UTC",
        on_leader: bool = False,
        catch_up: float = CATCH_UP,
    ) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` by a cron expression.

        With `on_leader` each scheduled instant fires at most once per app. The latest that nobody
        fired, because the leader had died, left or was restarted, is fired by the next leader if it
        is at most `catch_up` seconds old; 0 switches that off.
        """
        check("a crontab", "on_leader", on_leader)
        check("a crontab", "catch_up", catch_up)
        plain, zone = check_cron(spec, timezone, on_leader)

        def register(function: T) -> T:
            name = check_task(function, "crontab")
            call = of_nothing(function)
            self._add_task(Crontab(name, call, on_leader, spec=plain, zone=zone, catch_up=catch_up))
            return function

        return register

    def _add_task(self, task: Task) -> None:
        if task.name in self.tasks:
            raise ConfigError(f"app {self.name} has two tasks named {task.name!r}")
        self.tasks[task.name] = task

    def choose(self, names: Iterable[str]) -> list[Processor]:
        """The named processors, or all. Raises ConfigError for a name that is none."""
        wanted = list(names)
        for name in wanted:
            if name not in self.processors:
                raise ConfigError(
                    f"app {self.name} has no processor {name!r}; it has "
                    f"{', '.join(self.processors) or 'none'}"
                )
        chosen = [self.processors[name] for name in wanted or self.processors]
        return [replace(each, module=self.module or each.module) for each in chosen]

    def autodiscover(self, pattern: str) -> list[str]:
        """Import every module whose file matches a glob relative to the current directory, such as
        ``shop/processors/*.py``, so that what they declare is known. Returns their names.

        Raises ConfigError if nothing matches.
        """
        try:
            paths = sorted(Path().glob(pattern))
        # What pathlib says of a pattern: an absolute one is NotImplementedError.
        except (TypeError, ValueError, NotImplementedError, OSError) as error:
            raise ConfigError(
                f"autodiscover takes a glob below the current directory, such as "
                f"'shop/processors/*.py', not {pattern!r} ({error})"
            ) from None
        names = [
            ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            for path in paths
            if path.suffix == ".py"
        ]
        if not names:
            raise ConfigError(f"autodiscover: no Python file matches {pattern!r} here")
        for name in names:
            importlib.import_module(name)
        return names

    def producer(self) -> Producer:
        """What sends for this app in the running event loop."""
        return self._producers.get()

    def _make_producer(self) -> Producer:
        scripts = Scripts(connect(self.settings.redis_url))
        return Producer(scripts, self.settings.delivery_timeout, self.settings.durability)

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that `send` opened, in whichever event loop; ``async with app:``
        does so at its end. A loop that ends closes its own, and a later `send` opens new ones."""
        await self._producers.close()
