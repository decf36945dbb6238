"""The middleware of a processor, around the events on their way to its handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from runnel.core.partition import PartitionState
from runnel.delivery.cancellation import cancelled
from runnel.delivery.error_text import told
from runnel.errors import HandlerReturned
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: Asks for what comes next, after the first so many events in hand were finished:
#: an event or a list of events, and how many those are. None at the end.
Ask = Callable[[int], Awaitable[tuple[Any, int] | None]]


class Chain:
    """Runs one item at a time through the middleware, and knows which events the handler was given.

    A middleware that is cancelled with a wait of the handler, or fails, is at its end: the chain is
    made anew for what comes next.
    """

    def __init__(self, middleware: Sequence[Any], state: PartitionState, ask: Ask) -> None:
        self._middleware = middleware
        self._state = state
        self._ask = ask
        self._running: list[AsyncIterator[Any]] = []
        #: What the middleware has taken and is not finished, and how many events each of it is.
        self._taken: list[tuple[Any, int]] = []
        #: How many of these the handler has been given, with what it has in hand; and how many of
        #: them were over before that: it had them earlier, or the middleware has dropped them.
        self._given = self._over = 0
        self._ended = False
        #: The source gives nothing out any more: a failure is being told.
        self.closed = False

    async def next(self) -> Any:
        """What comes out. Raises StopAsyncIteration at the end, HandlerReturned if a middleware
        ends before that, and what a middleware raises."""
        if not self._running:
            self._start()
        try:
            item = await anext(self._running[-1])
        except StopAsyncIteration:
            if self._ended or not self._state.open:
                raise
            names = ", ".join(_name(each) for each in self._middleware)
            raise HandlerReturned(
                f"a middleware ended although its events go on; it must yield until they end "
                f"({names})"
            ) from None
        except asyncio.CancelledError:
            # Else a middleware fails in this way, and so does its event; or that took too long.
            if cancelled() and not self.closed:
                await self.close()
                self._state.rewind(keep=self._given)
                self._taken.clear()
            raise
        self._over, self._given = self._count(item)
        return item

    def blame(self) -> int:
        """Leave in hand what a failure is about: what the handler was given, or if that is
        finished, what the middleware has taken since. Returns how many events before that are to be
        finished."""
        if self._given:
            self._state.rewind(keep=self._given)
        over, self._over = self._over, 0
        return over

    def finished(self) -> int:
        """How many events the handler was given; from now on these count as finished."""
        given, self._given, self._over = self._given, 0, 0
        left = given
        while self._taken and left > 0:
            left -= self._taken.pop(0)[1]
        return given

    async def take(self) -> Any:
        """What the source gives to the innermost middleware."""
        found = await self._ask(self.finished())
        if found is None:
            self._ended = True
            raise StopAsyncIteration
        if len(self._state.in_hand) == found[1]:
            self._taken.clear()  # What came before was dropped.
        self._taken.append(found)
        return found[0]

    async def tell(self, error: BaseException) -> list[BaseException]:
        """Raise `error` at the ``yield`` of each middleware, the innermost last. Returns what they
        raised instead. Nothing is given out from now on."""
        self.closed = True
        instead: list[BaseException] = []
        traceback = error.__traceback__  # Not by way of all the middleware that is told.
        pairs = list(zip(self._middleware, self._running, strict=False))
        for middleware, running in reversed(pairs):
            athrow = getattr(running, "athrow", None)
            if athrow is None:
                continue
            try:
                await athrow(error.with_traceback(traceback))
            except (StopAsyncIteration, GeneratorExit):
                continue
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as raised:
                if raised is not error and not _at_end(raised):
                    logger.warning(
                        "middleware %s raised %s: %s when it was told of a failure",
                        _name(middleware),
                        *told(raised),
                        exc_info=raised,
                    )
                    instead.append(raised)
        error.with_traceback(traceback)
        return instead

    async def close(self) -> None:
        """End every middleware."""
        running, self._running = self._running, []
        for each in reversed(running):
            aclose = getattr(each, "aclose", None)
            if aclose is not None:
                try:
                    await aclose()
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as raised:
                    if not _at_end(raised):  # Nor if a task that was left behind waits in it.
                        logger.warning("a middleware failed at its end: %s: %s", *told(raised))

    def _start(self) -> None:
        source: AsyncIterator[Any] = _Source(self)
        for middleware in self._middleware:
            source = middleware.handler(_Gate(self, source))
            self._running.append(source)

    def _count(self, item: Any) -> tuple[int, int]:
        """How many of the events taken come before `item`, and how many the handler has been given
        with it: all of them, if it is something that a middleware has made."""
        count = 0
        for taken, size in self._taken:
            if taken is item:
                return count, count + size
            count += size
        return 0, count


class _Source:
    """What the innermost middleware iterates over."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def __aiter__(self) -> _Source:
        return self

    async def __anext__(self) -> Any:
        return await self._chain.take()


class _Gate:
    """Between two middlewares: closed while a failure is told, so that one that swallows it does
    not have the next one believe that all went well."""

    def __init__(self, chain: Chain, parent: AsyncIterator[Any]) -> None:
        self._chain = chain
        self._parent = parent

    def __aiter__(self) -> _Gate:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return _nothing() if self._chain.closed else anext(self._parent)


async def _nothing() -> Any:
    raise StopAsyncIteration


def _name(middleware: Any) -> str:
    return type(middleware).__name__


def _at_end(raised: BaseException) -> bool:
    """Is it what Python says of a generator that cannot be thrown into any more?"""
    return isinstance(raised, RuntimeError) and "asynchronous generator" in str(raised)
