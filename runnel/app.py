"""`App`: declares the streams, processors and tasks of one namespace in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, Unpack, overload

from typing_extensions import TypeForm

from runnel import keys
from runnel.app_lifespan import AppLifespan
from runnel.codec.compressors import Compressor
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import XXH64, Hasher
from runnel.codec.serializers import MsgpackSerializer, Serializer
from runnel.connection.connect import connect
from runnel.connection.url import check_url
from runnel.declaration.autodiscover import autodiscover
from runnel.declaration.declare import (
    check_current,
    check_parts,
    check_tables,
    checked_codecs,
    with_tables,
)
from runnel.declaration.handlers_of_app import HandlersOfApp
from runnel.declaration.origins import Origins
from runnel.declaration.signatures import check_task
from runnel.errors import ConfigError
from runnel.handlers.callables import named, of_nothing
from runnel.harness import Harness, Named
from runnel.observer import Observer
from runnel.processor import Processor
from runnel.producer.numbered_producer import NumberedProducer
from runnel.producer.observed_producer import producer_of
from runnel.producer.per_loop import PerLoop
from runnel.producer.producer import Producer
from runnel.protocol.observed_scripts import scripts_of
from runnel.record import adapt
from runnel.retention import Retain
from runnel.settings import GivenSettings, Settings, check
from runnel.stream import Stream, StreamSpec, declared_retention
from runnel.sync_app import SyncApp
from runnel.table import MOST_TABLES, NOTHING, Table
from runnel.tasks import CATCH_UP, Crontab, Task, Timer, check_cron

R = TypeVar("R")
V = TypeVar("V")
T = TypeVar("T", bound=Callable[[], Any])


class App(AppLifespan, HandlersOfApp):
    """A namespace of streams, processors and tasks in one Redis.

    Settings are keywords, else ``RUNNEL_<NAME>`` in the environment, else defaults: see
    `runnel.settings.Settings`. Raises ConfigError for a wrong name or setting.
    """

    def __init__(self, name: str, **settings: Unpack[GivenSettings]) -> None:
        super().__init__(keys.check_name("app", name))
        self.origins = Origins(name)
        self.settings = Settings.make(**settings)
        check_url(self.settings.redis_url)
        self.streams: dict[str, Stream[Any]] = {}
        self.processors: dict[str, Processor] = {}
        self.tables: dict[str, Table[Any]] = {}
        #: The app's module on the command line, for the commands in messages.
        self.module: str | None = None
        self.tasks: dict[str, Task] = {}
        self._producers = PerLoop(self._make_producer)
        #: What makes metrics and traces: see `observe`.
        self.observers: tuple[Observer, ...] = ()
        #: The test that runs the app, if any.
        self.under_test: Any = None

    def __repr__(self) -> str:
        return f"App({self.name!r})"

    def configure(self, **settings: Unpack[GivenSettings]) -> None:
        """Override settings, as the command line does at the start. Raises ConfigError."""
        self.settings = self.settings.changed(**settings)
        check_url(self.settings.redis_url)

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Add a stream. Raises ConfigError if its name is taken."""
        name = stream.name
        if not self.origins.claim("stream", name, name in self.streams):
            raise ConfigError(f"app {self.name} has two streams named {name!r}: declare it once")
        # Streams that were derived from a former one have its partitions.
        for former in [key for key, each in self.streams.items() if each.spec.source == name]:
            del self.streams[former]
        self.streams[name] = stream
        return stream

    def stream(
        self,
        name: str,
        *,
        record: TypeForm[R],
        partition_by: str | Callable[[R], Any],
        partition_count: int | None = None,
        partition_size: int | None = None,
        max_age: float | timedelta | None = None,
        retain: Retain = "always",
        serializer: Serializer | None = None,
        compressor: Compressor | None = None,
        compress_over: int = 256,
        hasher: Hasher | None = None,
        codecs: Iterable[Serializer | Compressor] = (),
        exclude_unset: bool = False,
    ) -> Stream[R]:
        """Declare a stream of `record` objects, partitioned by a field or a function of a record.

        `record` is a class or a union, such as ``A | B``, which may have a discriminator in
        `Annotated`. With `exclude_unset`, fields that were not set are not stored, and are unset in
        the record that is read: for events such as PATCH. `codecs` are other serializers and
        compressors with which stored entries may have been written.

        `partition_size` is how many entries a partition may hold: the oldest leave when room is
        needed; with `max_age`, in seconds, also when they are older; but none that a registered
        processor has not committed. `retain` is for a stream that nobody reads: "always" keeps all,
        so that `send` raises Full; with "until_full" the oldest make room. Raises ConfigError.
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
            retention=declared_retention(where, max_age, retain),
        )
        return self.add(Stream(self, spec))

    def table(
        self,
        name: str,
        stream: Stream[Any],
        *,
        value: TypeForm[V],
        default: V | Callable[[], V] = NOTHING,
        processor: str | None = None,
        expire: int | None = None,
    ) -> Table[V]:
        """Declare a table: what a processor of `stream` remembers for each key.

        `value` is the type of its values: a plain type, a record class, or a type of these that
        pydantic knows. `default` is the value of a key that has none, or a function that makes one.
        `processor` is the name of the only processor that may write it; without it, the first one
        that does is. With `expire`, a key that no commit has written for so many seconds is removed
        by a later commit: see `Table`. Raises ConfigError for a wrong name, type or default.
        """
        if not isinstance(stream, Stream):
            raise ConfigError(
                f"table {name}: the second argument is the stream whose events it belongs to, as "
                f'in app.table("balances", payments, value=int), not {named(stream)}'
            )
        own: object = self
        if stream.app is not own:
            raise ConfigError(f"table {name}: the stream {stream.name} belongs to another app")
        others = (each for each in self.tables.values() if each.name != name)
        if sum(each.stream is stream.spec for each in others) >= MOST_TABLES:
            raise ConfigError(
                f"table {name}: the stream {stream.name} has {MOST_TABLES} tables already, and one "
                "commit writes no more"
            )
        made: Table[V] = Table(self, name, stream.spec, value, default, processor, expire)
        if not self.origins.claim("table", name, name in self.tables):
            raise ConfigError(f"app {self.name} has two tables named {name!r}: declare it once")
        self.tables[name] = made
        return made

    def task(self, *, on_leader: bool = False) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` once in each worker, or only on the leader."""
        check("a task", "on_leader", on_leader)

        def register(function: T) -> T:
            name = check_task(function, "task")
            self._add_task(Task(name, of_nothing(function), on_leader), function)
            return function

        return register

    def timer(self, *, interval: float, on_leader: bool = False) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` every `interval` seconds. Runs never overlap."""
        check("a timer", "interval", interval)
        check("a timer", "on_leader", on_leader)

        def register(function: T) -> T:
            name = check_task(function, "timer")
            made = Timer(name, of_nothing(function), on_leader, interval=interval)
            self._add_task(made, function)
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

        With `on_leader`, each scheduled instant runs at most once per app. If the leader died, left
        or was restarted, the next leader runs the latest instant that was missed, if that is at
        most `catch_up` seconds old. Raises ConfigError for a wrong expression or zone.
        """
        check("a crontab", "on_leader", on_leader)
        check("a crontab", "catch_up", catch_up)
        plain, zone = check_cron(spec, timezone, on_leader)

        def register(function: T) -> T:
            name = check_task(function, "crontab")
            call = of_nothing(function)
            made = Crontab(name, call, on_leader, spec=plain, zone=zone, catch_up=catch_up)
            self._add_task(made, function)
            return function

        return register

    def _add_task(self, task: Task, function: Callable[[], Any]) -> None:
        if not self.origins.claim("task", task.name, task.name in self.tasks, function):
            raise ConfigError(
                f"app {self.name} has two tasks named {task.name!r}: give one of the functions "
                "another name"
            )
        self.tasks[task.name] = task

    def choose(self, names: Iterable[str]) -> list[Processor]:
        """The named processors, or all. Raises ConfigError for an unknown name; a wrong table."""
        check_tables(self.tables.values(), self.processors)
        wanted = list(dict.fromkeys(names))  # A processor that is named twice runs once.
        for name in wanted:
            if name not in self.processors:
                raise ConfigError(
                    f"app {self.name} has no processor {name!r}; it has "
                    f"{', '.join(self.processors) or 'none'}"
                )
        chosen = [self.processors[name] for name in wanted or self.processors]
        check_current(self.streams, self.tables.values(), chosen)
        tables = self.tables.values()
        return [
            replace(with_tables(each, tables), module=self.module or each.module) for each in chosen
        ]

    def autodiscover(self, pattern: str) -> list[str]:
        """Import every module whose file matches a glob relative to the current directory, such as
        ``shop/processors/*.py``, so that its declarations run. Returns the names of the modules.

        Raises ConfigError if nothing matches.
        """
        return autodiscover(pattern)

    @overload
    def producer(self) -> Producer: ...
    @overload
    def producer(self, *, id: str) -> NumberedProducer: ...
    def producer(self, *, id: str | None = None) -> Producer | NumberedProducer:
        """The app's producer in the running event loop; or, with an `id`, a numbered producer.

        That sends records that have numbers, each at most once, also after a restart: ``await
        app.producer(id="import").send(orders, order, number=17)``. The id is a name, as that of a
        stream, and belongs to one process at a time. Raises ConfigError.
        """
        if id is None:
            return self._producers.get()
        return NumberedProducer(self, id)

    def sync(self) -> SyncApp:
        """The app for code without an event loop: ``with app.sync() as it: it.send(orders, …)``."""
        return SyncApp(self, lambda: self._producers.close_here())

    def _make_producer(self) -> Producer:
        scripts = scripts_of(connect(self.settings.redis_url), self.observers)
        timeout, durability = self.settings.delivery_timeout, self.settings.durability
        return producer_of(scripts, timeout, durability, self.observers)

    def test(self, *only: Named, timeout: float = 10.0, lifespan: bool = True) -> Harness:
        """A test of the app without a server: ``async with app.test() as t:``, see `Harness`.

        `only` are the processors that run, by function or name; without any, all. A drain takes at
        most `timeout` seconds. Without `lifespan`, no startup and shutdown function is called."""
        return Harness(self, only, timeout, lifespan=lifespan)

    def observe(self, observer: Observer) -> None:
        """Tell an observer, from now on, what this app does in this process. Metrics and traces are
        made by one: see `runnel.metrics` and `runnel.otel`. Raises ConfigError once it has sent.
        """
        if self._producers.made:
            raise ConfigError(
                f"app {self.name} has sent, and what observes it comes too late: call this where "
                "the app is declared"
            )
        self.observers = (*self.observers, observer)

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that `send` opened in all event loops, as ``async with app:`` does
        at its end. An event loop that ends closes its own. A later `send` opens new ones."""
        await self._producers.close()
