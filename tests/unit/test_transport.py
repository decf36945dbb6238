"""A connection on which answers are slow, long or not those of Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import pytest
from redis.exceptions import RedisError

from runnel.connection.connect import connect


@contextlib.asynccontextmanager
async def answering(answer: Callable[[Any, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    """The URL of a program that sends the given answer to each command, like a slow Redis."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        try:
            while data := await reader.read(100_000):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    await answer(command, writer)
                if len(data) > 1000:
                    await asyncio.sleep(0.005)
        except ConnectionResetError:
            pass
        finally:
            writer.close()
            ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=100_000) as other:
        yield f"redis://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        await ended.wait()


async def test_a_long_answer_may_take_its_time_as_long_as_it_comes() -> None:
    async def answer(command: Any, writer: asyncio.StreamWriter) -> None:
        if command[0] != b"ECHO":
            return writer.write(b"+OK\r\n")
        writer.write(b"$20\r\n")
        for _ in range(20):
            writer.write(b"x")
            await asyncio.sleep(0.03)
        writer.write(b"\r\n")

    async with answering(answer) as url, connect(url, 0.3) as client:
        assert await client.roundtrip([("ECHO", 1)]) == [20 * b"x"]


async def test_a_long_question_may_take_its_time_as_long_as_it_goes_out() -> None:
    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n")

    async with answering(answer) as url, connect(url, 0.4) as client:
        assert await client.roundtrip([("ECHO", bytes(30_000_000))]) == [b"OK"]


async def test_an_answer_that_is_not_of_redis_is_an_error() -> None:
    async def answer(command: Any, writer: asyncio.StreamWriter) -> None:
        """As Redis does, until the first ECHO."""
        writer.write(b"HTTP/1.1 400" if command[0] == b"ECHO" else b"+OK\r\n")

    async with answering(answer) as url, connect(url) as client:
        with pytest.raises(RedisError, match="Protocol error"):
            await client.roundtrip([("ECHO", 1)])
