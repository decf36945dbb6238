"""A TCP proxy that loses the reply to a chosen command, after the server has carried it out."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit


class Proxy:
    """Stands before the server at `url`. Use it as ``async with``, and connect to `proxy.url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._marker: bytes | None = None
        self._connections: set[asyncio.Task[None]] = set()
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

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        up_reader, up_writer = await asyncio.open_connection(
            self._target.hostname, self._target.port
        )
        cut = asyncio.Event()
        up = asyncio.create_task(self._requests(reader, up_writer, cut))
        try:
            while reply := await up_reader.read(65536):
                if cut.is_set():
                    self.lost += 1
                    break
                writer.write(reply)
        finally:
            up.cancel()
            up_writer.close()
            writer.close()
            self._connections.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while request := await reader.read(65536):
            if self._marker is not None and self._marker in request:
                self.requests += 1
                if not self.lost:
                    cut.set()
            writer.write(request)
        writer.write_eof()
