"""A TCP proxy that does to connections what networks do: delay, hold, cut, and lose replies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal
from urllib.parse import urlsplit

Way = Literal["requests", "replies"]
_CHUNK = 65536


class Proxy:
    """Stands before the server at `url`. Use it as ``async with``, and connect to `proxy.url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._marker: bytes | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flows = {way: asyncio.Event() for way in ("requests", "replies")}
        for flow in self._flows.values():
            flow.set()
        #: Seconds that each piece takes, each way.
        self.delay = 0.0
        #: Bytes of replies that come through in a second, over all connections.
        self.rate: float | None = None
        self._free_at = 0.0
        #: How many replies are still to be lost, whatever they answer.
        self.losing = 0
        #: How many requests came that contained the marker.
        self.requests = 0
        #: Replies that were lost.
        self.lost = 0

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        port = self._server.sockets[0].getsockname()[1]
        return f"redis://127.0.0.1:{port}/0"

    def lose_reply_to(self, marker: bytes) -> None:
        """Once, cut the connection in place of the reply to a request that contains `marker`."""
        self._marker = marker

    def hold(self, *ways: Way) -> None:
        """Let nothing through these ways. Connections stay open, and new ones are taken; what was
        held arrives, late, after `heal`, as it does when a network comes back."""
        for way in ways:
            self._flows[way].clear()

    def heal(self) -> None:
        """Let everything through again, at once."""
        self.delay = 0.0
        self.losing = 0
        for flow in self._flows.values():
            flow.set()

    def cut(self) -> None:
        """Cut every connection: what was on its way never arrives."""
        for connection in self._connections:
            connection.cancel()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # The server is away, or the connection was cut: the client finds out.
        finally:
            writer.close()
            self._connections.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on until one end closes."""
        up_reader, up_writer = await asyncio.open_connection(
            self._target.hostname, self._target.port
        )
        cut = asyncio.Event()
        up = asyncio.create_task(self._requests(reader, up_writer, cut))
        try:
            await self._replies(up_reader, writer, cut)
        finally:
            up.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await up
            up_writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while request := await reader.read(_CHUNK):
            if self._marker is not None and self._marker in request:
                self.requests += 1
                if not self.lost:
                    cut.set()
            await self._pass(writer, request, "requests")
        writer.write_eof()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while reply := await reader.read(_CHUNK):
            if self.losing:
                self.losing -= 1
                cut.set()
            if cut.is_set():
                self.lost += 1
                break
            await self._pass(writer, reply, "replies")

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes, way: Way) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._flows[way].wait()
        if self.rate and way == "replies":
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + len(data) / self.rate
            await asyncio.sleep(self._free_at - now)
        writer.write(data)
        await writer.drain()
