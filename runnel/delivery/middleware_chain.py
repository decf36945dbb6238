"""Runs the middleware of a processor between the queue and the handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from runnel.core.partition import PartitionState
from runnel.delivery.cancellation import cancelled
from runnel.delivery.error_text import describe_error
from runnel.errors import HandlerReturned
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: Finishes the first so many current events and returns the next item: an event or a list of
#: events, and how many events it is. None at the end.
NextItem = Callable[[int], Awaitable[tuple[Any, int] | None]]


class MiddlewareChain:
    """Passes one item at a time through the middleware, and knows which events the handler got.

    A middleware generator that raises, or is cancelled together with a wait of the handler, has
    ended. Then the chain starts new generators for the next item.
    """

    def __init__(
        self, middleware: Sequence[Any], state: PartitionState, next_item: NextItem
    ) -> None:
        self._middleware = middleware
        self._state = state
        self._next_item = next_item
        self._running: list[AsyncIterator[Any]] = []
        #: The items that the middleware took and that are not finished, with their numbers of
        #: events.
        self._taken: list[tuple[Any, int]] = []
        #: How many of these events, counted from the first, were given to the handler, with the
        #: item that it has now; and how many were over before this item: the handler had them
        #: earlier, or the middleware dropped them.
        self._given = self._over = 0
        self._ended = False
        #: No item is taken any more: a failure is raised in the middleware.
        self.closed = False

    async def next(self) -> Any:
        """The next item that the middleware yields.

        Raises StopAsyncIteration at the end, HandlerReturned if a middleware ends before that, and
        what a middleware raises.
        """
        if not self._running:
            self._start()
        try:
            item = await anext(self._running[-1])
        except StopAsyncIteration:
            if self._ended or not self._state.open:
                raise
            names = ", ".join(_name(each) for each in self._middleware)
            raise HandlerReturned(
                f"a middleware ended before its events; it must yield until they end ({names})"
            ) from None
        except asyncio.CancelledError:
            # Otherwise a middleware raised this, or it took too long: then the event fails.
            if cancelled() and not self.closed:
                await self.close()
                self._state.rewind(keep=self._given)
                self._taken.clear()
            raise
        over, given = self._count(item)
        if over and self._state.effects is not None:
            self._state.effects.seal()
        self._over, self._given = over, given
        return item

    def keep_blamed(self) -> int:
        """Keep the events that a failure is about current: the item that the handler was given, or
        if that is finished, what the middleware has taken since. Returns how many events before
        that must be finished."""
        self._state.undo(sealed=False)
        if self._given:
            self._state.rewind(keep=self._given)
        over, self._over = self._over, 0
        return over

    def finished(self) -> int:
        """How many events the handler was given. From now on they count as finished."""
        given, self._given, self._over = self._given, 0, 0
        left = given
        while self._taken and left > 0:
            left -= self._taken.pop(0)[1]
        return given

    async def take(self) -> Any:
        """The next item for the middleware that is nearest to the queue."""
        found = await self._next_item(self.finished())
        if found is None:
            self._ended = True
            raise StopAsyncIteration
        if len(self._state.current) == found[1]:
            self._taken.clear()  # The middleware dropped what it took before.
        self._taken.append(found)
        return found[0]

    async def throw(self, error: BaseException) -> list[BaseException]:
        """Raise `error` at the ``yield`` of each middleware, the one nearest to the handler first.
        Returns what they raised instead. No item is taken from now on."""
        self.closed = True
        instead: list[BaseException] = []
        traceback = error.__traceback__  # Without the frames of all the middleware.
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
                if raised is not error and not _has_ended(raised):
                    logger.warning(
                        "middleware %s raised %s: %s when the failure was raised in it",
                        _name(middleware),
                        *describe_error(raised),
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
                    # It cannot be closed, either, while a task that was left behind waits in it.
                    if not _has_ended(raised):
                        logger.warning(
                            "a middleware failed at its end: %s: %s", *describe_error(raised)
                        )

    def _start(self) -> None:
        source: AsyncIterator[Any] = _Source(self)
        for middleware in self._middleware:
            source = middleware.handler(_Link(self, source))
            self._running.append(source)

    def _count(self, item: Any) -> tuple[int, int]:
        """How many of the events taken come before `item`, and how many the handler has been given
        with it: all of them if a middleware has made the item itself."""
        count = 0
        for taken, size in self._taken:
            if taken is item:
                return count, count + size
            count += size
        return 0, count


class _Source:
    """What the middleware that is nearest to the queue iterates over."""

    def __init__(self, chain: MiddlewareChain) -> None:
        self._chain = chain

    def __aiter__(self) -> _Source:
        return self

    async def __anext__(self) -> Any:
        return await self._chain.take()


class _Link:
    """What a middleware iterates over. It ends while a failure is raised in the middleware: if one
    swallows the error and continues, the next one must not believe that the event succeeded."""

    def __init__(self, chain: MiddlewareChain, parent: AsyncIterator[Any]) -> None:
        self._chain = chain
        self._parent = parent

    def __aiter__(self) -> _Link:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return _end() if self._chain.closed else anext(self._parent)


async def _end() -> Any:
    raise StopAsyncIteration


def _name(middleware: Any) -> str:
    return type(middleware).__name__


def _has_ended(raised: BaseException) -> bool:
    """Is this what Python raises if a generator has ended or is running?"""
    return isinstance(raised, RuntimeError) and "asynchronous generator" in str(raised)
