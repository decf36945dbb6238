"""Runs what an app declares to happen before its first event and after its last one.

All of it runs in one task of asyncio, from the first function to the last: a TaskGroup, or a cancel
scope of anyio, must be left by the task that has entered it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any

from runnel.delivery.cancellation import asked_to_end
from runnel.errors import ConfigError, HandlerExit, LifespanFailed
from runnel.handlers.callables import in_threads, is_async, named, settled
from runnel.log import logger_of, reason

logger = logger_of("runnel.lifespan")

Function = Callable[..., Any]

#: Seconds that a function may take until the log says that everything waits for it.
PATIENCE = 30.0
#: Seconds that a function has to clean up after it was cut off.
CLEAN_UP = 0.3
#: How often the task may be cancelled from inside before it stops waiting for the workers.
CANCELLED = 3


class Lifespan:
    """What an app has declared: functions for the start and the end, and one around everything.

    Workers of an app in the same event loop share one run: the first worker starts it, and the last
    one ends it.
    """

    def __init__(self, app: str, state: SimpleNamespace) -> None:
        self.startup: list[Function] = []
        self.shutdown: list[Function] = []
        #: Returns an async context manager, which is entered first and left last.
        self.around: Callable[[], Any] | None = None
        self.app = app
        self.state = state
        self._run: LifespanRun | None = None

    async def begin(self) -> LifespanRun:
        """Start the functions, or join a run that has begun in this event loop. Each caller must
        call `end` of the result once. Raises ConfigError if they run in another loop."""
        while (run := self._run) is not None and not run.task.done():
            if run.task.get_loop() is not asyncio.get_running_loop():
                if run.task.get_loop().is_closed():
                    break
                raise ConfigError(
                    f"the lifespan of app {self.app} runs in another event loop, with which its "
                    "workers here cannot share what it opens: make an App for each loop"
                )
            if _inside.get() is run and not run.up:
                raise ConfigError(
                    f"a startup function of app {self.app} starts a worker of the same app, and "
                    "each would wait for the other: start it beside the worker, not inside it"
                )
            if not run.ending:
                run.users += 1
                return run
            await asyncio.wait([run.task])
        self._run = LifespanRun(self)
        return self._run

    @asynccontextmanager
    async def running(self, timeout: float = inf) -> AsyncIterator[SimpleNamespace]:
        """Run the startup functions before a block and the shutdown functions after it, without a
        worker: ``async with app.hooks.running():``. For tests.

        Yields `app.state`. Shutdown is cut off after `timeout` seconds. Raises LifespanFailed.
        """
        run = await self.begin()
        try:
            await run.started()
            yield self.state
        except BaseException:
            await run.end(timeout, quiet=True)
            raise
        await run.end(timeout)


class LifespanRun:
    """One run of a lifespan, from the first startup function to the last shutdown function."""

    def __init__(self, lifespan: Lifespan) -> None:
        self._lifespan = lifespan
        #: How many workers use it.
        self.users = 1
        self.ending = False
        #: The first failure: LifespanFailed, or HandlerExit for `sys.exit`.
        self.failure: LifespanFailed | HandlerExit | None = None
        #: Set when it is cancelled from inside while workers run, as by a task of its TaskGroup.
        self.broke = asyncio.Event()
        #: What did not finish in time, for people.
        self.cut_off: list[str] = []
        self._doing = ""
        #: Have all startup functions returned?
        self.up = False
        #: Set when it is up, or has failed.
        self._settled = asyncio.Event()
        #: Set when no worker needs it any more.
        self._over = asyncio.Event()
        self._aborted = False
        self.task = asyncio.create_task(self._run(), name=f"lifespan {lifespan.app}")

    def unfinished(self) -> list[str]:
        """The function that is running, for people. Another thread may ask."""
        return [self._doing] if self._doing else []

    async def started(self) -> None:
        """Wait until all startup functions have returned. Raises LifespanFailed or HandlerExit."""
        waited = 0.0
        while not self._settled.is_set():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._settled.wait()
            except TimeoutError:
                waited += PATIENCE
                doing = self._doing or "the start"
                text = "%s has not returned for %.0f s: the worker begins after it"
                logger.warning(text, doing, waited)
        if not self.up:
            raise self.failure or LifespanFailed(f"the start of app {self._lifespan.app} was ended")

    async def end(self, seconds: float, *, quiet: bool = False) -> None:
        """Call the shutdown functions if nobody else needs what was started. What has not returned
        after `seconds` is cut off, and logged.

        Raises LifespanFailed or HandlerExit if one has failed, unless `quiet`.
        """
        self.users -= 1
        if self.users:
            return
        self.ending = True
        self._over.set()
        if not self._settled.is_set():
            self._aborted = True
            self.task.cancel()
        await asyncio.wait([self.task], timeout=None if seconds == inf else seconds)
        if not self.task.done():
            await self._cut_off(seconds)
        if self.failure is not None and not quiet:
            raise self.failure

    async def _cut_off(self, seconds: float) -> None:
        self._aborted = True
        self.cut_off = self.unfinished()
        logger.warning(
            "cut off, because shutdown_timeout is over: %s", ", ".join(self.cut_off) or "lifespan"
        )
        self.cut_off = self.cut_off or ["lifespan"]
        # Again and again, as for all user code: it may swallow one.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLEAN_UP
        while not self.task.done() and (left := deadline - loop.time()) > 0:
            self.task.cancel()
            await asyncio.wait([self.task], timeout=min(0.1, left))

    async def _run(self) -> None:
        _inside.set(self)
        names: list[str] = []
        try:
            async with self._around(names):
                await self._inside()
        except BaseException as error:
            self._failed(self._doing or "lifespan", error)
        else:
            if self.broke.is_set():  # Its context manager has suppressed it.
                self._failed("lifespan", asyncio.CancelledError())
        finally:
            self._doing = ""
            for name in names:
                vars(self._lifespan.state).pop(name, None)
            self._settled.set()

    @asynccontextmanager
    async def _around(self, names: list[str]) -> AsyncIterator[None]:
        """The context manager around everything, if the app has one."""
        if self._lifespan.around is None:
            yield
            return
        self._doing = f"lifespan {_name(self._lifespan.around)}, its start"
        manager = self._lifespan.around()
        if not hasattr(manager, "__aexit__"):
            raise TypeError(
                f"it returned {named(manager)}, not an async context manager: make it an `async "
                "def` with one `yield`"
            )
        async with manager as given:
            try:
                names += self._take(given)
                self._doing = ""
                yield
            finally:
                self._doing = f"lifespan {_name(self._lifespan.around)}, its end"

    def _take(self, given: Any) -> list[str]:
        """Put what the lifespan yields into `app.state`."""
        if given is None:
            return []
        if not isinstance(given, Mapping) or not all(isinstance(each, str) for each in given):
            raise TypeError(
                f"it yielded {type(given).__name__}: yield nothing, or a dict of names, which "
                "become attributes of app.state"
            )
        vars(self._lifespan.state).update(given)
        return list(given)

    async def _inside(self) -> None:
        try:
            for function in self._lifespan.startup:
                self._doing = f"startup function {_name(function)}"
                await _call(function)
            self._doing = ""
            self.up = True
            self._settled.set()
            await self._until_over()
        except BaseException as error:
            if not self.broke.is_set():  # Else the reason is not known before everything ends.
                self._failed(self._doing or "lifespan", error)
            raise
        finally:
            await self._shut_down()

    async def _until_over(self) -> None:
        """Wait until no worker needs it. If it is cancelled from inside meanwhile, the workers end
        first, and it goes on for as long as they take."""
        cancelled: asyncio.CancelledError | None = None
        for _ in range(CANCELLED):
            try:
                await self._over.wait()
                break
            except asyncio.CancelledError as error:
                cancelled = error
                self.broke.set()
        if cancelled is not None:
            raise cancelled

    async def _shut_down(self) -> None:
        for function in self._lifespan.shutdown:
            if self.cut_off:
                self.cut_off.append(f"shutdown function {_name(function)}, which was not called")
                logger.warning("%s", self.cut_off[-1])
                continue
            self._doing = f"shutdown function {_name(function)}"
            try:
                await _call(function)
            except BaseException as error:  # The others are called nevertheless.
                self._failed(self._doing, error)
        self._doing = ""

    def _failed(self, what: str, error: BaseException) -> None:
        """Log a failure, and keep the first one."""
        if isinstance(error, asyncio.CancelledError) and self._aborted:
            return
        if self.failure is not None and _same(error, self.failure):
            return
        if (exit_ := asked_to_end(error)) is not None:
            failure: LifespanFailed | HandlerExit = HandlerExit.of(exit_)
            logger.error("%s ends this worker: %s", what, failure)
        else:
            failure = LifespanFailed(f"{what} failed: {_text(error)}")
            # The first of the start is raised, and one of these is a sentence that says it all.
            if self.up or self.failure is not None or not isinstance(error, ConfigError):
                logger.error("%s", failure, exc_info=error)
        failure.__cause__ = error
        self.failure = self.failure or failure
        self._settled.set()


#: The run whose functions this code is called by.
_inside: ContextVar[LifespanRun | None] = ContextVar("runnel_lifespan", default=None)


def _same(error: BaseException, failure: BaseException) -> bool:
    """Has this error been logged, perhaps as the reason of this one?"""
    known = failure.__cause__
    return error is known or (isinstance(error, asyncio.CancelledError) and known is not None)


def _text(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, asyncio.CancelledError):
        return "it was cancelled, and not by the worker"
    hint = {
        "generator didn't stop": " (it has a second `yield`: take it out)",
        "generator didn't yield": " (it returned before its `yield`)",
    }.get(str(error), "")
    return f"{type(error).__name__}: {reason(error)}{hint}"


async def _call(function: Function) -> None:
    """Call a function without arguments. A plain one runs in a thread."""
    if is_async(function):
        await settled(function(), function)
    else:
        await settled(await in_threads(lambda _: function())(None), function)


def _name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", None) or repr(function)


def takes_app(function: Function) -> bool:
    """Does a lifespan function want the app as its argument, as those of Starlette do? Raises
    ConfigError if it can be called neither with it nor without."""
    try:
        signature = inspect.signature(function, follow_wrapped=True)
    except (TypeError, ValueError):
        return False
    for arguments in ((), (None,)):
        try:
            signature.bind(*arguments)
            return bool(arguments)
        except TypeError:
            continue
    raise ConfigError(
        f"lifespan {_name(function)} is called with the app or without arguments, and its "
        f"signature is {signature}"
    )
