"""`HandlersOfApp`: the part of `App` that declares processors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from runnel.declaration.declare import Options, check_stream, declare
from runnel.declaration.decorators import OnDecorator, ProcessorDecorator
from runnel.declaration.origins import Origins
from runnel.errors import ConfigError
from runnel.middleware import Middleware
from runnel.processor import CommitMode, ExceptionPolicy, Processor
from runnel.settings import Settings
from runnel.stream import Stream

R = TypeVar("R")


class HandlersOfApp:
    """Declares processors. `App` adds streams, tables and tasks."""

    name: str
    settings: Settings
    processors: dict[str, Processor]
    origins: Origins

    def processor(
        self,
        stream: Stream[R],
        *,
        name: str | None = None,
        exception_policy: ExceptionPolicy | str = ExceptionPolicy.QUARANTINE,
        retries: int | None = None,
        backoff: float | None = None,
        backoff_max: float | None = None,
        commit: CommitMode = "auto",
        prefetch: int | None = None,
        middleware: Iterable[Middleware] = (),
        start: str = "earliest",
        timeout: float | None = None,
        park_limit: int | None = None,
        concurrency: int = 1,
    ) -> ProcessorDecorator[R]:
        """Declare the decorated ``async def f(events: Events[R])`` as a processor of `stream`.

        It runs once for each partition that a worker holds, and must iterate until its events end.
        Checkpoints are stored under `name`, by default the name of the function: a processor with
        another name has no checkpoints yet. `exception_policy` may be a name: "quarantine", "park",
        "retry_later", "ignore" or "halt". A failing event is retried `retries` times, after
        `backoff` seconds, then twice as many, up to `backoff_max`. With ``commit="each"`` an event
        is committed before the next one of its partition starts. `prefetch` is how many events of a
        partition one read brings. `start` is where a new processor begins: "earliest" (or "0"),
        with the oldest event that is left, or "latest" (or "$"), with the next new event. `timeout`
        is the seconds that one event, or one list of events, may take. `park_limit` is how many
        events of a partition the policies PARK and RETRY_LATER may set aside. Raises ConfigError
        for a declaration that cannot work: `concurrency` is for `on`.
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
            park_limit,
            concurrency,
        )
        return self._declare(stream, "processor", options)

    def on(
        self,
        stream: Stream[R],
        *,
        name: str | None = None,
        exception_policy: ExceptionPolicy | str = ExceptionPolicy.QUARANTINE,
        retries: int | None = None,
        backoff: float | None = None,
        backoff_max: float | None = None,
        commit: CommitMode = "auto",
        prefetch: int | None = None,
        middleware: Iterable[Middleware] = (),
        start: str = "earliest",
        timeout: float | None = None,
        park_limit: int | None = None,
        concurrency: int = 1,
    ) -> OnDecorator[R]:
        """Declare the decorated function of one record, async or plain, as a processor.

        It takes ``(record)`` or ``(record, event)``: an `Event` has the id, the partition and the
        headers. Which of the two is decided by how many arguments it needs: a second one with a
        default is left to its default. A plain ``def`` runs in a thread. An awaitable that the
        function returns is awaited. The options are those of `processor`. With `concurrency`, up to
        so many events of a partition are processed at the same time, each of another key; those of
        one key stay in order. Raises ConfigError.
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
            park_limit,
            concurrency,
        )
        return self._declare(stream, "on", options)

    def _declare(self, stream: Stream[Any], decorator: str, options: Options) -> Callable[..., Any]:
        check_stream(stream, decorator)
        own: object = self
        if stream.app is not own:
            again = " object of this name: declare it again" * (stream.spec.app == self.name)
            raise ConfigError(
                f"@app.{decorator}: the stream {stream.name} belongs to another app{again}"
            )

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            made = declare(self.settings, stream, function, decorator, options)
            name = made.name
            if not self.origins.claim("processor", name, name in self.processors, function):
                raise ConfigError(
                    f"app {self.name} has two processors named {name!r}: give one of them another "
                    "name with name=…"
                )
            self.processors[name] = made
            return function

        return register
