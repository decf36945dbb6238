"""Round trips: each gets its own replies, whole, and what becomes of a connection is told."""

from __future__ import annotations

import asyncio

import hiredis
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from runnel.connection import connect
from runnel.wire import Client
from tests.worker.workers import until


async def connection_of(client: Client) -> int:
    (number,) = await client.roundtrip([("CLIENT", "ID")])
    return int(number)


async def blocked(redis: Redis) -> None:
    """Wait until somebody waits for a key."""

    async def somebody() -> bool:
        return bool((await redis.info("clients"))["blocked_clients"])

    await until(somebody, "nobody waits for a key")


async def test_replies_that_come_in_many_pieces_are_whole_and_in_order(redis_url: str) -> None:
    async with connect(redis_url) as client:
        large = [bytes([65 + number]) * 300_000 for number in range(9)]
        said = await client.roundtrip([("ECHO", each) for each in large])
        assert said == large


async def test_a_refusal_is_the_reply_of_its_command_alone(redis_url: str) -> None:
    async with connect(redis_url) as client:
        first, refusal, last = await client.roundtrip([("ECHO", 1), ("GET",), ("ECHO", 3)])
        assert (first, last) == (b"1", b"3")
        assert isinstance(refusal, ResponseError)


async def test_what_was_lost_while_nobody_used_it_is_told_once(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        await redis.client_kill_filter(_id=str(number))
        with pytest.raises(ConnectionError):
            await client.roundtrip([("PING",)])
        assert await connection_of(client) != number


async def test_who_waits_is_told_that_the_connection_was_lost(redis: Redis, redis_url: str) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)]))
        await blocked(redis)
        await redis.client_kill_filter(_id=str(number))
        with pytest.raises(ConnectionError):
            await waiting
        assert await connection_of(client) != number


async def test_where_a_reply_may_still_come_nothing_else_is_asked(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url, 0.05) as client:
        number = await connection_of(client)
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            await client.roundtrip([("BLPOP", "key", 0)])
        await redis.rpush("key", "late")
        assert await connection_of(client) != number


async def test_nor_where_it_would_come_for_who_was_cancelled(redis: Redis, redis_url: str) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)]))
        await blocked(redis)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await redis.rpush("key", "late")
        assert await connection_of(client) != number


async def test_who_answers_something_else_than_redis_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As Redis does, until the first ECHO."""
        commands = hiredis.Reader()
        while data := await reader.read(1000):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                writer.write(b"HTTP/1.1 400" if command[0] == b"ECHO" else b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with connect(f"redis://127.0.0.1:{port}") as client:
            with pytest.raises(RedisError, match="Protocol error"):
                await client.roundtrip([("ECHO", 1)])
