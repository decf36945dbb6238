"""The way of one command to Redis: it reads what passes, and loses, delays or holds it on order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

from runnel.conformance.history import Call, History
from runnel.conformance.wire import Wire

Way = Literal["requests", "replies"]
_CHUNK = 65536
#: In place of the name of a script: a `sync` that reports released partitions.
REPORT = "report"
#: Seconds in which the server must reply to what was sent before the client left.
_LAST_REPLIES = 1.0


class Proxy:
    """Accepts connections at `url`, and leads to the server at the Unix socket `path`. Use it with
    ``async with``.

    `look` is called before anything that arrives is read: then the caller reads what its processes
    have written until then.
    """

    def __init__(self, path: str, actor: str, history: History, look: Callable[[], None]) -> None:
        self._path = path
        self._actor = actor
        self._history = history
        self._look = look
        self._connections: set[asyncio.Task[None]] = set()
        self._flows = {way: asyncio.Event() for way in ("requests", "replies")}
        for flow in self._flows.values():
            flow.set()
        #: Script, or `REPORT` -> how many of its next calls are carried out, and cut instead of
        #: answered.
        self.lose: Counter[str] = Counter()
        #: Script -> how many of its next calls are carried out and never answered: the connection
        #: stays open, and nothing comes through it any more.
        self.mute: Counter[str] = Counter()
        #: Scripts whose calls never arrive: the connection is cut in place of that. Were it mute,
        #: a client that has one connection would do nothing else meanwhile.
        self.swallow: set[str] = set()
        #: Script -> seconds for which its next reply is held back.
        self.late: dict[str, float] = {}
        #: The calls that were carried out and never answered.
        self.muted: set[Call] = set()

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        return f"redis://127.0.0.1:{port}/0"

    @property
    def harm_left(self) -> int:
        """How many calls are still to be lost or muted."""
        return self.lose.total() + self.mute.total()

    def hold(self, *ways: Way) -> None:
        """Let nothing through in these directions. Connections stay open, and what is held arrives
        after `heal`, as when a network recovers."""
        self._note(f"the {' and '.join(ways)} of {self._actor} are held back")
        for way in ways:
            self._flows[way].clear()

    def heal(self) -> None:
        """Let everything through again."""
        self._note(f"everything of {self._actor} passes again")
        self.swallow.clear()
        self.late.clear()
        for flow in self._flows.values():
            flow.set()

    def cut(self) -> None:
        """Cut every connection: data on its way never arrives."""
        self._note(f"the connections of {self._actor} are cut")
        for connection in self._connections:
            connection.cancel()

    def _note(self, fault: str) -> None:
        self._history.note(f"fault: {fault}")

    def _note_reply(self, calls: list[Call], becomes: str) -> None:
        for call in calls:
            self._note(f"the reply to {call.name} of {self._actor}, number {call.place}, {becomes}")

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # Until the event loop has closed what was aborted.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            # The server is down, or the connection was cut: the client gets an error.
            writer.transport.abort()
        finally:
            writer.close()
            self._connections.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward data in both directions until one end closes."""
        up_reader, up_writer = await asyncio.open_unix_connection(self._path)
        connection = _Connection(Wire(self._actor, self._history))
        listening = asyncio.create_task(self._listen(reader, connection))
        up = asyncio.create_task(self._requests(up_writer, connection))
        down = asyncio.create_task(self._replies(up_reader, writer, connection))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            if connection.left:  # What the server still replies shows what it has carried out.
                await asyncio.wait([down], timeout=_LAST_REPLIES)
        finally:
            up_writer.close()
            for task in (listening, up, down):
                task.cancel()
            await asyncio.gather(listening, up, down, return_exceptions=True)

    async def _listen(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        """Take what the client sends, also while it is held, to see when the client has left."""
        try:
            while data := await reader.read(_CHUNK):
                self._look()
                connection.sent.put_nowait((data, connection.wire.requests(data)))
        finally:
            connection.left = True
            connection.sent.put_nowait((b"", []))

    async def _requests(self, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        while (sent := await connection.sent.get()) != (b"", []):
            data, calls = sent
            await self._flows["requests"].wait()
            if any(each.script in self.swallow for each in calls):
                names = ", ".join(each.script for each in calls)
                self._note(f"{names} of {self._actor} never arrives: its connection is cut")
                connection.wire.swallowed(calls)
                return
            if connection.mute:
                connection.wire.swallowed(calls)
                continue
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _take(self, call: Call, counter: Counter[str]) -> bool:
        """Is this call one of those that are counted? A call that has not run for want of its
        script is none."""
        kinds = (call.script, *([REPORT] if call.reported else []))
        wanted = [each for each in kinds if counter[each] > 0 and call.refused != "NOSCRIPT"]
        counter.subtract(wanted[:1])
        return bool(wanted)

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        while data := await reader.read(_CHUNK):
            self._look()
            calls = connection.wire.replies(data)
            if lost := [each for each in calls if self._take(each, self.lose)]:
                self._note_reply(lost, "is lost: its connection is cut")
                return
            muted = [each for each in calls if self._take(each, self.mute)]
            self._note_reply(muted, "never comes: its connection is silent from now on")
            self.muted.update(muted)
            connection.mute |= bool(muted)
            if connection.mute:
                continue
            if delay := max((self.late.pop(each.script, 0.0) for each in calls), default=0.0):
                self._note(f"a reply to {self._actor} comes {delay:.2f} s late")
                await asyncio.sleep(delay)
            await self._flows["replies"].wait()
            if connection.left:
                continue
            for call in calls:
                call.answered, call.answered_at = next(self._history.places), time.monotonic()
            writer.write(data)
            await writer.drain()


class _Connection:
    """One connection, whether nothing comes through it any more, and whether the client has left.
    What it has sent and was not forwarded yet is bounded by its own time limit."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.mute = False
        self.left = False
        self.sent: asyncio.Queue[tuple[bytes, list[Call]]] = asyncio.Queue()
