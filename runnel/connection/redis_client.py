"""A cheap way through redis-py for many commands at once.

Its own commands and pipelines pack every argument in Python, look at every connection before use,
start a timer for every reply, and turn replies into other objects. Here packing and reading are
left to hiredis, a timer serves many round trips, and replies stay as they came off the wire. On the
way out, too: a command is packed in about 1 µs instead of 20.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, TimeoutError

from runnel.connection.transport import Arg, Line, cut

__all__ = ["Arg", "Client", "close_all"]

#: Connections that `roundtrip` has to one server at the most. Who comes then waits for one: first
#: come, first served.
MOST = 32
#: Connections that stay open though nobody uses them, and after how many seconds the others close.
KEPT, UNUSED = 4, 10.0


class Client(Redis):
    """redis-py's client, and beside its commands `roundtrip`.

    The connections that `roundtrip` uses are its own: as many as there are calls at a time, up to
    `MOST`.
    """

    #: How many connections `roundtrip` has made so far.
    made = 0
    #: Bytes after which a reply is too much, and is broken off.
    most: int | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._limit: float | None = self.connection_pool.connection_kwargs.get("socket_timeout")
        #: All of its connections, and those that nobody uses: the last one was used last.
        self._lines: set[Line] = set()
        self._idle: list[Line] = []
        #: Who waits for a connection, and since when.
        self._queue: deque[tuple[asyncio.Future[Line], float]] = deque()
        #: What was asked by somebody who was cancelled, and is not answered yet.
        self._adrift: dict[asyncio.Future[list[Any]], Line] = {}
        self._tidying: asyncio.TimerHandle | None = None
        self._closed = False

    async def roundtrip(
        self, commands: Sequence[Sequence[Arg]], extra_time: float = 0.0
    ) -> list[Any]:
        """Send commands together and return their raw replies; an error reply in its place.

        Waits until the server was silent for as long as the client's `socket_timeout` says, and
        `extra_time` seconds more: so long it may take over a blocking read. Raises ConnectionError
        or TimeoutError: then any of the commands may have been carried out.
        """
        limit = None if self._limit is None else self._limit + extra_time
        line = self._idle.pop() if self._idle else await self._another()
        try:
            if not line.opened:
                async with asyncio.timeout(limit):
                    await line.open()
            line.most = self.most
            replies = await line.ask(commands, limit)
        except asyncio.CancelledError:
            if line.opened and not extra_time and not self._closed:
                self._let_drift(line)
            else:
                self._end(line)
            raise
        except BaseException as error:
            self._end(line)
            if isinstance(error, asyncio.TimeoutError):
                error = TimeoutError(f"no connection within {limit} s")
            if isinstance(error, TimeoutError):
                self._give_up(error, limit)
                raise error from None
            if isinstance(error, ConnectionError):
                self._drop_idle()  # The server went away: the others lead nowhere either.
            raise
        if self._queue or self._closed or len(self._idle) >= KEPT:
            self._free(line)
        else:
            self._idle.append(line)
        return replies

    async def settled(self) -> None:
        """Wait until all that was asked by somebody who was cancelled has been answered, or nobody
        can tell any more what became of it."""
        if self._adrift:
            await asyncio.wait(list(self._adrift))

    async def __aexit__(self, *_: object) -> None:
        # Here and now: redis-py closes in a task, which is lost with its loop.
        await self.aclose()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections, even when it is cancelled meanwhile; those in use by `roundtrip`
        once they are not any more."""
        self.close_lines()
        try:
            await super().aclose(close_connection_pool)
        finally:
            self.cut_off()

    def let_go(self) -> None:
        """Close all connections when the event loop does not run any more."""
        self.cut_off()
        for line in self._lines:  # Who uses one will not give it back.
            line.close()

    def cut_off(self) -> None:
        """Close all connections at once, but for those that `roundtrip` is using."""
        self.close_lines()
        pool: Any = self.connection_pool
        for connection in (*pool._available_connections, *pool._in_use_connections):
            cut(connection)

    def close_lines(self) -> None:
        """Close the connections of `roundtrip`, now or after use, those that come later as well."""
        self._closed = True
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        self._drop_idle()
        for line in list(self._adrift.values()):
            line.close()

    # Who uses which connection

    async def _another(self) -> Line:
        """A connection of the caller's own, when it is its turn."""
        if len(self._lines) < MOST:
            return self._line()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Line] = loop.create_future()
        self._queue.append((turn, loop.time()))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                self._free(turn.result())  # It came, and its caller was cancelled at once.
            raise

    def _line(self) -> Line:
        pool = self.connection_pool
        options = {**pool.connection_kwargs, "socket_timeout": None}
        self.made += 1
        line = Line(pool.connection_class(**options))
        self._lines.add(line)
        return line

    def _next(self) -> asyncio.Future[Line] | None:
        """Whoever has waited for longest."""
        while self._queue:
            turn, _ = self._queue.popleft()
            if not turn.done():
                return turn
        return None

    def _free(self, line: Line) -> None:
        """Its user does not need it any more."""
        if self._closed or not line.opened:
            self._end(line)
        elif turn := self._next():
            turn.set_result(line)
        else:
            self._idle.append(line)
            if self._tidying is None and len(self._idle) > KEPT:
                self._tidying = asyncio.get_running_loop().call_later(UNUSED, self._tidy)

    def _end(self, line: Line) -> None:
        """Close one. There is room for another one."""
        line.close()
        self._lines.discard(line)
        if turn := self._next():
            turn.set_result(self._line())

    def _let_drift(self, line: Line) -> None:
        """Its user was cancelled: it is of use again once what was asked has been answered."""

        def over(answer: asyncio.Future[list[Any]]) -> None:
            self._adrift.pop(answer, None)
            failed = answer.cancelled() or answer.exception() is not None
            (self._end if failed else self._free)(line)

        answer = line.linger()
        self._adrift[answer] = line
        answer.add_done_callback(over)

    def _give_up(self, error: TimeoutError, limit: float | None) -> None:
        """The server is silent: who has waited for a connection for as long need not go on."""
        since = asyncio.get_running_loop().time() - (limit or 0.0)
        for turn, began in self._queue:
            if began <= since and not turn.done():
                turn.set_exception(TimeoutError(*error.args))

    def _tidy(self) -> None:
        """Close those of which there are more than was needed since the last time."""
        self._tidying, idle = None, self._idle
        unused = [line for line in idle if not line.used]
        for line in unused[: max(0, len(idle) - KEPT)]:
            idle.remove(line)
            self._end(line)
        for line in idle:
            line.used = False
        if len(idle) > KEPT:
            self._tidying = asyncio.get_running_loop().call_later(UNUSED, self._tidy)

    def _drop_idle(self, but_to: tuple[str, int] | None = None) -> None:
        """Close the connections that are not in use, but for those to this host and port."""
        idle, self._idle = self._idle, []
        for line in idle:
            if but_to is not None and line.leads_to(but_to):
                self._idle.append(line)
            else:
                self._end(line)


async def close_all(clients: Iterable[Client]) -> None:
    """Close several clients, even when it is cancelled meanwhile."""
    try:
        for client in clients:
            await client.aclose()
    finally:
        for client in clients:
            client.cut_off()
