"""A TCP proxy that simulates network faults: delays, held data, cut connections, lost replies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal
from urllib.parse import urlsplit

Way = Literal["requests", "replies"]
_CHUNK = 65536


class Proxy:
    """A proxy for the server at `url`. Use it with ``async with``, and connect to `proxy.url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._marker: bytes | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flows = {way: asyncio.Event() for way in ("requests", "replies")}
        for flow in self._flows.values():
            flow.set()
        #: Seconds of delay for each chunk, in each direction.
        self.delay = 0.0
        #: Bytes of replies per second over all connections; None is no limit.
        self.rate: float | None = None
        self._free_at = 0.0
        #: How many of the next replies to lose.
        self.losing = 0
        #: Number of requests that contained the marker.
        self.requests = 0
        #: Number of lost replies.
        self.lost = 0

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        return f"redis://127.0.0.1:{port}/0"

    def lose_reply_to(self, marker: bytes) -> None:
        """Once, cut the connection instead of the reply to a request that contains `marker`."""
        self._marker = marker

    def hold(self, *ways: Way) -> None:
        """Let nothing through in these directions. Connections stay open, new ones are accepted,
        and held data arrives after `heal`, as when a network recovers."""
        for way in ways:
            self._flows[way].clear()

    def heal(self) -> None:
        """Let everything through again, without delay."""
        self.delay = 0.0
        self.losing = 0
        for flow in self._flows.values():
            flow.set()

    def cut(self) -> None:
        """Cut every connection: data on its way never arrives."""
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
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # The server is down, or the connection was cut: the client gets an error.
        finally:
            writer.close()
            self._connections.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward data in both directions until one end closes."""
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
            await self._deliver(writer, request, "requests")
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
            await self._deliver(writer, reply, "replies")

    async def _deliver(self, writer: asyncio.StreamWriter, data: bytes, way: Way) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._flows[way].wait()
        if self.rate and way == "replies":
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + len(data) / self.rate
            await asyncio.sleep(self._free_at - now)
        writer.write(data)
        await writer.drain()
