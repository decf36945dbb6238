"""The app: a namespace of streams and processors in one Redis."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from runnel import keys
from runnel.compressors import Compressor
from runnel.connection import check_url, connect
from runnel.entry import EntryCodec
from runnel.errors import ConfigError
from runnel.events import Events
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.partitioning import XXH64, Hasher
from runnel.processor import CommitMode, ExceptionPolicy, Handler, Processor
from runnel.producer import Producer, Stream
from runnel.record import adapt
from runnel.scripts import Scripts
from runnel.serializers import MsgpackSerializer, Serializer
from runnel.settings import Settings
from runnel.stream import StreamSpec
from runnel.tasks import Crontab, Task, Timer, check_cron

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
        self.tasks: dict[str, Task] = {}
        self._producer: tuple[asyncio.AbstractEventLoop, Producer] | None = None

    def configure(self, **settings: Any) -> None:
        """Override settings, as the command line does before anything runs."""
        self.settings = Settings.make(**{**self.settings.model_dump(), **settings})
        check_url(self.settings.redis_url)

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Enter a stream. Raises ConfigError if its name is taken."""
        if stream.name in self.streams:
            raise ConfigError(f"app {self.name} has two streams named {stream.name!r}")
        self.streams[stream.name] = stream
        return stream

    def stream(
        self,
        name: str,
        *,
        record: type[R],
        partition_by: str | Callable[[R], Any],
        partition_count: int | None = None,
        partition_size: int | None = None,
        serializer: Serializer | None = None,
        compressor: Compressor | None = None,
        compress_over: int = 256,
        hasher: Hasher | None = None,
        codecs: Iterable[Serializer | Compressor] = (),
    ) -> Stream[R]:
        """Declare a stream of `record` objects, partitioned by a field or a function of them.

        `partition_size` is how many entries one partition may hold. `codecs` are further
        serializers and compressors that entries may have been written with.
        """
        codec = EntryCodec(
            adapt(record), serializer or MsgpackSerializer(), compressor, compress_over, codecs
        )
        spec = StreamSpec(
            self.name,
            name,
            codec,
            partition_by,
            partition_count or self.settings.partition_count,
            partition_size or self.settings.partition_size,
            hasher or XXH64(),
        )
        return self.add(Stream(self, spec))

    def processor(
        self,
        stream: Stream[Any],
        *,
        name: str | None = None,
        exception_policy: ExceptionPolicy | str = ExceptionPolicy.HALT,
        retries: int | None = None,
        backoff: float | None = None,
        backoff_max: float | None = None,
        commit: CommitMode = "auto",
        prefetch: int | None = None,
        middleware: Sequence[Middleware] = (),
        start: str = "0",
    ) -> Callable[[F], F]:
        """Declare the decorated ``async def f(events: Events[R])`` as a processor of `stream`.

        It runs once for each partition that a worker holds, and must iterate until its events end.
        `exception_policy` may be named: "halt", "quarantine" or "ignore". `start` says where a
        processor that is new to the stream begins: ``0``, everything still there, or ``$``, what
        comes from now. Raises ConfigError for a declaration that cannot work.
        """
        if not isinstance(stream, Stream):
            raise ConfigError(
                f"@app.processor takes the stream that it reads, as in @app.processor(orders), "
                f"not {_named(stream)}"
            )

        def register(handler: F) -> F:
            if not inspect.iscoroutinefunction(handler):
                raise ConfigError(
                    f"processor {handler.__name__} must be an `async def` that takes events; "
                    "for a plain function of one record use @app.on"
                )
            self._add_processor(
                stream,
                name or handler.__name__,
                handler,
                exception_policy,
                (retries, backoff, backoff_max),
                commit,
                prefetch,
                middleware,
                start,
            )
            return handler

        return register

    def on(self, stream: Stream[Any], **options: Any) -> Callable[[F], F]:
        """Declare the decorated function of one record, async or plain, as a processor.

        A plain ``def`` runs in a thread. Options are those of `processor`.
        """
        if not isinstance(stream, Stream):
            raise ConfigError(
                f"@app.on takes the stream that it reads, as in @app.on(orders), "
                f"not {_named(stream)}"
            )

        def register(function: F) -> F:
            is_async = inspect.iscoroutinefunction(function)

            @functools.wraps(function)
            async def handler(events: Events[Any]) -> None:
                async for record in events.records():
                    if is_async:
                        await function(record)
                    else:
                        await asyncio.to_thread(function, record)

            self.processor(stream, **options)(handler)
            return function

        return register

    def task(self, *, on_leader: bool = False) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` once in each worker, or once it leads."""

        def register(function: T) -> T:
            self._add_task(Task(function.__name__, function, on_leader))
            return function

        return register

    def timer(self, *, interval: float, on_leader: bool = False) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` every `interval` seconds, never two at a time."""
        if interval <= 0:
            raise ConfigError(f"interval must be more than 0 seconds, not {interval}")

        def register(function: T) -> T:
            self._add_task(Timer(function.__name__, function, on_leader, interval=interval))
            return function

        return register

    def crontab(
        self, spec: str, *, timezone: str = "UTC", on_leader: bool = False
    ) -> Callable[[T], T]:
        """Run the decorated ``async def f()`` by a cron expression.

        With `on_leader` each scheduled instant fires at most once per app.
        """
        plain, zone = check_cron(spec, timezone)

        def register(function: T) -> T:
            name = function.__name__
            self._add_task(Crontab(name, function, on_leader, spec=plain, zone=zone))
            return function

        return register

    def _add_task(self, task: Task) -> None:
        if not inspect.iscoroutinefunction(task.function):
            raise ConfigError(f"task {task.name} must be an `async def` without arguments")
        if task.name in self.tasks:
            raise ConfigError(f"app {self.name} has two tasks named {task.name!r}")
        self.tasks[task.name] = task

    def _add_processor(
        self,
        stream: Stream[Any],
        name: str,
        handler: Handler,
        policy: ExceptionPolicy | str,
        retrying: tuple[int | None, float | None, float | None],
        commit: CommitMode,
        prefetch: int | None,
        middleware: Sequence[Middleware],
        start: str,
    ) -> None:
        keys.check_name("processor", name)
        if name in self.processors:
            raise ConfigError(f"app {self.name} has two processors named {name!r}")
        if stream.app is not self:
            raise ConfigError(f"processor {name}: stream {stream.name} belongs to another app")
        if commit not in ("auto", "each"):
            raise ConfigError(f'processor {name}: commit must be "auto" or "each", not {commit!r}')
        if start not in ("0", "$"):
            raise ConfigError(f'processor {name}: start must be "0" or "$", not {start!r}')
        policy = _policy(name, policy)
        for each in middleware:
            if not isinstance(each, Middleware):
                raise ConfigError(
                    f"processor {name}: middleware must be a list of Middleware objects, and "
                    f"{_named(each)} is none"
                )
            if isinstance(each, DeadLetterMiddleware):
                if policy is ExceptionPolicy.HALT:
                    raise ConfigError(
                        f"processor {name}: the policy HALT sets no event aside, so nothing would "
                        "become a dead letter: use IGNORE, or QUARANTINE with `resume --skip`"
                    )
                if each.sink is None:
                    each.sink = stream.dead_letters(name).spec
        defaults = self.settings
        self.processors[name] = Processor(
            app=self.name,
            name=name,
            stream=stream.spec,
            handler=handler,
            function=getattr(handler, "__wrapped__", handler),
            policy=policy,
            retries=defaults.retries if retrying[0] is None else retrying[0],
            backoff=defaults.backoff if retrying[1] is None else retrying[1],
            backoff_max=defaults.backoff_max if retrying[2] is None else retrying[2],
            commit=commit,
            prefetch=prefetch or defaults.prefetch,
            middleware=tuple(middleware),
            start=start,
        )

    def choose(self, names: Iterable[str]) -> list[Processor]:
        """The named processors, or all. Raises ConfigError for a name that is none."""
        wanted = list(names)
        for name in wanted:
            if name not in self.processors:
                raise ConfigError(
                    f"app {self.name} has no processor {name!r}; it has "
                    f"{', '.join(self.processors) or 'none'}"
                )
        return [replace(self.processors[name]) for name in wanted or self.processors]

    def autodiscover(self, pattern: str) -> list[str]:
        """Import every module whose file matches a glob relative to the current directory, such as
        ``shop/processors/*.py``, so that what they declare is known. Returns their names.

        Raises ConfigError if nothing matches.
        """
        paths = sorted(Path().glob(pattern))
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
        loop = asyncio.get_running_loop()
        if self._producer is None or self._producer[0] is not loop:
            scripts = Scripts(connect(self.settings.redis_url))
            producer = Producer(scripts, self.settings.resend, self.settings.durability)
            self._producer = (loop, producer)
        return self._producer[1]

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that `send` opened; ``async with app:`` does so at its end."""
        if self._producer is not None:
            producer, self._producer = self._producer[1], None
            await producer.close()


def _policy(name: str, policy: ExceptionPolicy | str) -> ExceptionPolicy:
    try:
        return ExceptionPolicy(policy.lower() if isinstance(policy, str) else policy)
    except ValueError:
        raise ConfigError(
            f"processor {name}: exception_policy must be HALT, QUARANTINE or IGNORE, not {policy!r}"
        ) from None


def _named(thing: object) -> str:
    """What somebody passed, as they would call it."""
    name = getattr(thing, "__name__", None)
    if isinstance(thing, type):
        return f"the class {name} (call it: {name}())"
    return f"the function {name}" if name else repr(thing)
