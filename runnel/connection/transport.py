"""One connection, used below redis-py's own methods: commands go out, raw replies come in.

redis-py's methods watch over each command and raise what a server refuses, and its stream reader
copies what comes twice. Here one of its connections is made and greeted by it, and after that
packing and reading are left to hiredis.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import ConnectionError, InvalidResponse, RedisError, TimeoutError

Arg = str | bytes | int


class TooMuch(RedisError):
    """An answer has more bytes than whoever asked has room for."""


class Line(asyncio.Protocol):
    """A connection of redis-py's, with one question at a time."""

    opened = False
    #: Has it been used since somebody last looked?
    used = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._parser: Any = None
        self._transport: Any = None
        self._waiting: asyncio.Future[list[Any]] | None = None
        self._replies: list[Any] = []
        #: How many replies are waited for in all.
        self._expected = 0
        self._failure: Exception | None = None
        #: Bytes that have come of an answer, and how many would be too much.
        self._received = 0
        self.most: int | None = None
        #: Seconds of silence after which there will be no answer, and when the last one began.
        self._patience = 0.0
        self._silent_since = 0.0
        #: Bytes that had not gone out yet when that was last looked at.
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def leads_to(self, place: tuple[str, int]) -> bool:
        """Whether this host and port are at its other end."""
        return place == (self._connection.host, self._connection.port)

    async def open(self) -> None:
        """Connect, once."""
        connection = self._connection
        await connection.connect()
        self._parser = hiredis.Reader(InvalidResponse, connection._parser.parse_error)
        self._transport = connection._writer.transport
        self._transport.set_protocol(self)
        self.opened = True

    def ask(
        self, commands: Sequence[Sequence[Arg]], patience: float | None
    ) -> asyncio.Future[list[Any]]:
        """Send commands; the outcome is their replies. Raises ConnectionError or ends with it, or
        with TimeoutError once nothing went out or came in for `patience` seconds; after that it is
        to be closed."""
        if self._failure is not None:
            raise self._failure  # It was lost since it was last used.
        pack: Any = hiredis.pack_command  # Its stub has tuples of one value only.
        packed = b"".join(map(pack, map(tuple, commands)))
        self._replies, self._expected, self.used = [], len(commands), True
        self._received = 0
        self._waiting = waiting = self._loop.create_future()
        # Nothing waits until the bytes are out: the replies, which are waited for, come later.
        self._transport.write(packed)
        if patience is not None:
            self._patience, self._silent_since = patience, self._loop.time()
            due = self._silent_since + patience
            if self._timer is None or self._timer.when() > due:
                self._unsent = self._transport.get_write_buffer_size()
                self._look_at(due)
        return waiting

    def linger(self) -> asyncio.Future[list[Any]]:
        """Whoever asked was cancelled: the outcome of what was asked, for whom it concerns."""
        self._waiting = waiting = self._loop.create_future()
        if self._failure is not None:
            waiting.set_exception(self._failure)
        elif len(self._replies) == self._expected:
            waiting.set_result(self._replies)
        return waiting

    def data_received(self, data: bytes) -> None:
        """Replies have come, or parts of them."""
        parser, replies = self._parser, self._replies
        try:
            parser.feed(data)
            while len(replies) < self._expected and (reply := parser.gets()) is not False:
                if isinstance(reply, ConnectionError):
                    return self._fail(reply)  # It is loading its data, or has too many clients.
                replies.append(reply)
        except InvalidResponse as error:
            return self._fail(error)
        if len(replies) < self._expected:
            self._silent_since = self._loop.time()  # A long answer over a thin line is under way.
            self._received += len(data)
            if self.most is not None and self._received > self.most:
                self._fail(TooMuch(f"broken off after {self._received} bytes"))
        elif self._waiting and not self._waiting.done():
            self._waiting.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """There will be no more replies."""
        told = "connection closed by server" if exc is None else f"the connection was lost: {exc}"
        self._fail(ConnectionError(told))

    def close(self) -> None:
        """Close it at once: what did not go out yet never will."""
        self._stop_timer()
        cut(self._connection)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(error)

    # Silence. One timer stays from one question to the next: to start and stop it each time would
    # take a tenth of the time of a round trip to a server on the same machine.

    def _look_at(self, moment: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        """Has it been silent for too long? If not, look again when it may have been."""
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._silent_since = now  # A long question is still going out.
        self._unsent = unsent
        if now < self._silent_since + self._patience:
            self._look_at(self._silent_since + self._patience)
        else:
            self._fail(TimeoutError(f"no answer within {self._patience} s"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def cut(connection: Any) -> None:
    """Close a connection of redis-py's at once, even if its event loop does not run any more, or
    was closed without notice: then nothing else would free its file."""
    writer = connection._writer
    if writer is None:
        return
    connection._reader = connection._writer = None
    transport, loop = writer.transport, writer._loop
    socket = transport.get_extra_info("socket")
    try:
        transport.abort()
        if not loop.is_running():
            _close(socket)
    except RuntimeError:  # The loop is closed, and cannot do the rest.
        finish = getattr(transport, "_call_connection_lost", None)
        with contextlib.suppress(RuntimeError):
            finish(None) if finish else _close(socket)


def _close(socket: Any) -> None:
    """Close what asyncio shows of a socket; uvloop shows nothing, and has closed it."""
    inner = getattr(socket, "_sock", None)
    if inner is not None:
        inner.close()
