"""`AppLifespan`: the part of `App` that says what happens around its work, and runs it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import runnel  # Its names are imported when they are used: the worker is built upon the app.
from runnel.declaration.origins import Origins
from runnel.errors import ConfigError
from runnel.handlers.callables import is_generator, named
from runnel.lifespan import Lifespan, takes_app

F = TypeVar("F", bound=Callable[..., Any])

#: `App.stopping` of the worker in whose tasks this code runs.
stopping_here: ContextVar[asyncio.Event] = ContextVar("runnel_stopping")


class AppLifespan:
    """Functions for the start and the end of a worker; workers in this process."""

    origins: Origins

    def __init__(self, name: str) -> None:
        self.name = name
        #: For what startup functions make and handlers use. What the lifespan yields is put here,
        #: and removed at the end.
        self.state: Any = SimpleNamespace()
        #: Runs startup and shutdown functions without a worker: ``async with app.hooks.running()``.
        self.hooks = Lifespan(name, self.state)
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the worker in which this code runs begins to end. A task that runs forever must
        wait for it, to end within `shutdown_timeout`."""
        return stopping_here.get(self._stopping)

    @stopping.setter
    def stopping(self, event: asyncio.Event) -> None:
        self._stopping = event

    def on_startup(self, function: F) -> F:
        """Call the decorated function, async or plain, in each worker before it begins.

        The worker joins its groups, processes events and runs tasks only after all of them have
        returned, in the order in which they are declared. A plain ``def`` runs in a thread. If one
        raises, the worker calls the shutdown functions and ends with `LifespanFailed`. Raises
        ConfigError for a function that cannot be called without arguments.
        """
        self._add(self.hooks.startup, function, "on_startup")
        return function

    def on_shutdown(self, function: F) -> F:
        """Call the decorated function, async or plain, in each worker after its end.

        At that time events and tasks have finished, commits are done and partitions released,
        whatever the reason to end is. The functions are called in the order in which they are
        declared, each also if another one failed, and if a startup function failed. All must return
        within the rest of the setting `shutdown_timeout`. Raises ConfigError, as `on_startup`.
        """
        self._add(self.hooks.shutdown, function, "on_shutdown")
        return function

    def lifespan(self, function: F) -> F:
        """Run each worker inside the decorated ``async def`` with one ``yield``.

        What is before the `yield` runs before the startup functions, what is after it runs after
        the shutdown functions. It takes the app or nothing, and yields nothing or a dict of names,
        which become attributes of `app.state`. A function that returns an async context manager
        is possible, too. An app has one lifespan. Raises ConfigError.
        """
        made = not isinstance(function, type) and hasattr(function, "__aenter__")
        if made or not callable(function):
            raise ConfigError(
                f"@app.lifespan takes a function that makes an async context manager, not "
                f"{'one that is made already' if made else named(function)}"
            )
        name = getattr(function, "__name__", repr(function))
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise ConfigError(f"lifespan {name} must be an `async def` with one `yield` in it")
        if not self.origins.claim("lifespan", name, self.hooks.around is not None, function):
            raise ConfigError(
                f"app {self.name} has two lifespans, and {name} is the second: enter both in one "
                "function, or use @app.on_startup and @app.on_shutdown"
            )
        make = asynccontextmanager(function) if inspect.isasyncgenfunction(function) else function
        self.hooks.around = partial(make, self) if takes_app(function) else make
        return function

    def _add(self, functions: list[Callable[..., Any]], function: Any, kind: str) -> None:
        name = getattr(function, "__name__", None) or repr(function)
        if isinstance(function, type) or not callable(function):
            raise ConfigError(f"@app.{kind} takes a function, not {named(function)}")
        if is_generator(function):
            raise ConfigError(f"@app.{kind}: {name} has a `yield`; @app.lifespan takes such ones")
        try:
            inspect.signature(function, follow_wrapped=False).bind()
        except ValueError:
            pass  # Some functions in C have no signature.
        except TypeError:
            raise ConfigError(
                f"@app.{kind}: {name} is called without arguments, and its signature is "
                f"{inspect.signature(function)}"
            ) from None
        names = [getattr(each, "__name__", None) for each in functions]
        if not self.origins.claim(f"{kind} function", name, name in names, function):
            raise ConfigError(
                f"app {self.name} has two functions named {name!r} for @app.{kind}: give one of "
                "them another name"
            )
        if name in names:
            functions[names.index(name)] = function
        else:
            functions.append(function)

    def worker(
        self,
        processors: Iterable[str] = (),
        *,
        name: str | None = None,
        burst: bool = False,
        signals: bool = False,
    ) -> runnel.Worker:
        """A worker of this app for ``async with app.worker():``. See `run` and `Worker`."""
        app = cast("runnel.App", self)
        return runnel.Worker(app, processors, name, burst=burst, signals=signals)

    async def run(
        self,
        processors: Iterable[str] = (),
        *,
        name: str | None = None,
        burst: bool = False,
        signals: bool = False,
    ) -> None:
        """Run a worker in this event loop, until it fails or this call is cancelled.

        Without `processors` it runs all. `name` is its member id, by default a new one. With
        `burst` it ends once all events that existed at the start are committed. With `signals`,
        SIGTERM and SIGINT end it; that works in the main thread only. If it is cancelled, it
        finishes its current events and tasks within `shutdown_timeout`, commits, and releases its
        partitions; cancelled again, it ends at once.

        Raises ConfigError, ServerError, Mismatch, LifespanFailed, and what ended the worker, such
        as Halted or HandlerExit.
        """
        await self.worker(processors, name=name, burst=burst, signals=signals).run()
