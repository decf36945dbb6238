"""One connection below redis-py's own methods: commands go out, raw replies come in.

redis-py's methods watch over each command and raise error replies, and its stream reader copies
what it receives twice. Here redis-py only connects and logs in. After that hiredis packs commands
and reads replies, and this module uses the transport directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.exceptions import ConnectionError, InvalidResponse, TimeoutError

from runnel.connection.redis_internals import close_now, error_parser, transport_of
from runnel.errors import ReplyTooLarge

Arg = str | bytes | int


class RawConnection(asyncio.Protocol):
    """A connection made by redis-py, with one request at a time."""

    opened = False
    #: Has it been used since it was last checked?
    used = True

    def __init__(self, connection: Any) -> None:
        #: As redis-py has it.
        self.connection = connection
        self._loop = asyncio.get_running_loop()
        self._parser: Any = None
        self._transport: Any = None
        self._waiting: asyncio.Future[list[Any]] | None = None
        self._replies: list[Any] = []
        #: Number of replies to the request that is under way.
        self._expected = 0
        self._failure: Exception | None = None
        #: Bytes received of an incomplete answer, and how many are too many.
        self._received = 0
        self.max_reply_bytes: int | None = None
        #: Seconds of silence after which there will be no answer, and when the silence began.
        self._timeout = 0.0
        self._silent_since = 0.0
        #: Bytes that had not gone out yet at the last check.
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def leads_to(self, address: tuple[str, int]) -> bool:
        """Whether this host and port are at its other end."""
        return address == (self.connection.host, self.connection.port)

    async def open(self) -> None:
        """Connect, once."""
        await self.connection.connect()
        self._parser = hiredis.Reader(InvalidResponse, error_parser(self.connection))
        self._transport = transport_of(self.connection)
        self._transport.set_protocol(self)
        self.opened = True

    def request(
        self, commands: Sequence[Sequence[Arg]], timeout: float | None
    ) -> asyncio.Future[list[Any]]:
        """Send commands and return the future of their replies.

        Raises ConnectionError, or the future does. The future raises TimeoutError once no byte went
        out or came in for `timeout` seconds. After an error the connection must be closed.
        """
        if self._failure is not None:
            raise self._failure  # It was lost since it was last used.
        pack: Any = hiredis.pack_command  # Its stub has tuples of one value only.
        packed = b"".join(map(pack, map(tuple, commands)))
        self._replies, self._expected, self.used = [], len(commands), True
        self._received = 0
        self._waiting = waiting = self._loop.create_future()
        # Nothing waits until the bytes are out: the caller waits for the replies, which come later.
        self._transport.write(packed)
        if timeout is not None:
            self._timeout, self._silent_since = timeout, self._loop.time()
            due = self._silent_since + timeout
            if self._timer is None or self._timer.when() > due:
                self._unsent = self._transport.get_write_buffer_size()
                self._check_at(due)
        return waiting

    def rest_of_answer(self) -> asyncio.Future[list[Any]]:
        """The future of the replies to a request whose caller was cancelled."""
        self._waiting = waiting = self._loop.create_future()
        if self._failure is not None:
            waiting.set_exception(self._failure)
        elif len(self._replies) == self._expected:
            waiting.set_result(self._replies)
        return waiting

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with replies, or parts of them."""
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
            self._silent_since = self._loop.time()  # A long answer is still coming in.
            self._received += len(data)
            if self.max_reply_bytes is not None and self._received > self.max_reply_bytes:
                self._fail(ReplyTooLarge(f"broken off after {self._received} bytes"))
        elif self._waiting and not self._waiting.done():
            self._waiting.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: there will be no more replies."""
        text = "connection closed by server" if exc is None else f"the connection was lost: {exc}"
        self._fail(ConnectionError(text))

    def close(self) -> None:
        """Close it at once: what did not go out yet never will."""
        self._stop_timer()
        close_now(self.connection)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(error)

    # Silence. One timer stays from one request to the next: to start and stop one for each request
    # would take a tenth of the time of a round trip to a server on the same machine.

    def _check_at(self, moment: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(moment, self._check_silence)

    def _check_silence(self) -> None:
        """Fail the request if the silence was too long; otherwise check again when it could be."""
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._silent_since = now  # A long request is still going out.
        self._unsent = unsent
        if now < self._silent_since + self._timeout:
            self._check_at(self._silent_since + self._timeout)
        else:
            self._fail(TimeoutError(f"no answer within {self._timeout} s"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
