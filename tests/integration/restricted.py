"""Servers and proxies that lack commands, and an app to be used with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from runnel import App, Events, Record
from runnel.errors import ServerError
from runnel.worker.worker import Worker
from tests.servers import Server


@contextmanager
def server_without(command: str) -> Iterator[Server]:
    """A server on which this command was renamed away."""
    with Server(rename_command=f"{command} ") as server:
        yield server


@asynccontextmanager
async def restricting_proxy(url: str, refused: dict[bytes, bytes | None]) -> AsyncIterator[str]:
    """A proxy that answers some commands itself, or closes the connection on them (None)."""
    target = urlsplit(url)
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            serving.add(task)
        there, back = await asyncio.open_connection(target.hostname, target.port)
        try:
            while request := await reader.read(1_000_000):
                words = request.upper().split(b"\r\n")
                found = [answer for word, answer in refused.items() if word in words]
                if found and found[0] is None:
                    return
                if found:
                    writer.write(found[0] or b"")
                    continue
                back.write(request)
                writer.write(await there.read(1_000_000))
        finally:
            writer.close()
            back.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        if serving:  # All clients have closed their connections.
            await asyncio.wait(serving)


class Item(Record):
    key: str


def declare(url: str) -> App:
    """An app with one stream and one processor."""
    app = App("restricted", redis_url=url, rebalance_delay=0.0)
    stream = app.stream("items", record=Item, partition_by="key", partition_count=2)

    @app.processor(stream)
    async def reader(events: Events[Item]) -> None:
        async for _ in events.records():
            pass

    return app


async def refusal_of_worker(url: str) -> str:
    """The error of a worker that does not start."""
    with pytest.raises(ServerError) as caught:
        await Worker(declare(url)).run(burst=True)
    return str(caught.value)
