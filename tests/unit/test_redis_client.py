"""Round trips: each gets its own replies, whole, and what becomes of a connection is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from runnel.connection import redis_client
from runnel.connection.connect import connect
from runnel.connection.redis_client import KEPT, MOST, Client
from tests.servers import Server
from tests.worker.workers import until


async def connection_of(client: Client) -> int:
    (number,) = await client.roundtrip([("CLIENT", "ID")])
    return int(number)


async def blocked(redis: Redis, number: int = 1) -> None:
    """Wait until so many wait for a key."""

    async def somebody() -> bool:
        return int((await redis.info("clients"))["blocked_clients"]) == number

    await until(somebody, "nobody waits for a key")


async def gone(redis: Redis) -> bool:
    """Has the client named "closing" no connection any more?"""
    return all(each["name"] != "closing" for each in await redis.client_list())


@contextlib.asynccontextmanager
async def answering(answer: Callable[[Any, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    """The URL of somebody who answers to each command as is said here, like a slow Redis."""
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


async def test_nor_where_it_is_to_come_for_who_was_cancelled_until_it_has(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)]))
        await blocked(redis)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await connection_of(client) != number
        settled = asyncio.create_task(client.settled())
        await redis.rpush("key", "late")
        await settled
        assert await connection_of(client) == number
        assert client.made == 2


async def test_a_call_that_is_cancelled_after_its_client_was_closed_keeps_no_connection(
    redis: Redis, redis_url: str
) -> None:
    client = connect(redis_url)
    waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)]))
    await blocked(redis)
    await client.aclose()
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(3):  # Sooner than the answer is given up.
        await blocked(redis, 0)


@pytest.mark.parametrize("steps", range(1, 6))
async def test_a_client_that_is_cancelled_while_it_closes_keeps_no_connection(
    redis: Redis, redis_url: str, steps: int
) -> None:
    client = connect(redis_url, client_name="closing")
    await asyncio.gather(client.ping(), client.ping(), connection_of(client))
    closing = asyncio.create_task(client.aclose())
    for _ in range(steps):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await until(lambda: gone(redis), "a connection stays open")


async def test_when_its_loop_does_not_run_any_more_what_is_in_use_is_closed_too(
    redis: Redis, redis_url: str
) -> None:
    def stop_with_a_call_under_way() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(begin())
        client.let_go()
        return loop

    async def begin() -> Client:
        client = connect(redis_url, client_name="closing")
        begun.append(asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)])))
        async with connect(redis_url) as looking:
            await blocked(looking)
        return client

    begun: list[asyncio.Task[Any]] = []
    loop = await asyncio.to_thread(stop_with_a_call_under_way)
    await until(lambda: gone(redis), "a connection stays open")
    outcome = loop.run_until_complete
    await asyncio.to_thread(outcome, asyncio.wait(begun))
    await asyncio.to_thread(loop.close)
    assert isinstance(begun[0].exception(), ConnectionError)


async def test_a_blocking_read_that_is_cancelled_is_over(redis: Redis, redis_url: str) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)], 1.0))
        await blocked(redis)
        waiting.cancel()
        await asyncio.wait([waiting])
        async with asyncio.timeout(3):
            await client.settled()
        await blocked(redis, 0)
        assert await connection_of(client) != number


async def test_calls_wait_for_a_connection_in_the_order_of_asking(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        replies = await asyncio.gather(*(client.roundtrip([("INCR", "n")]) for _ in range(1000)))
        assert client.made == MOST
        # As many as there are connections are under way at a time, so they may change places.
        assert all(abs(number - reply[0]) <= 2 * MOST for number, reply in enumerate(replies))


async def test_who_waits_gets_a_connection_whatever_becomes_of_those_in_use(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        stuck = [
            asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)], 1.0))
            for _ in range(MOST)
        ]
        await blocked(redis, MOST)
        first, second, third = (asyncio.create_task(connection_of(client)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        stuck[0].cancel()  # One is closed, and a new one takes its place.
        await second
        await third
        assert first.cancelled()
        killed: Any = await redis.client_kill_filter(_type="normal", skipme=True)
        assert killed >= MOST - 1
        for outcome in await asyncio.gather(*stuck, return_exceptions=True):
            assert isinstance(outcome, (ConnectionError, asyncio.CancelledError))
        with contextlib.suppress(ConnectionError):  # It may be told of one that was lost.
            await connection_of(client)
        await asyncio.gather(*(connection_of(client) for _ in range(2 * MOST)))


async def test_who_is_given_a_connection_and_cancelled_at_once_gives_it_on(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:

        async def hand_over() -> None:
            await client.roundtrip([("BLPOP", "key", 0)], 1.0)
            waiting.cancel()  # It has been given the connection, and does not know yet.

        handing = [asyncio.create_task(hand_over()) for _ in range(MOST)]
        await blocked(redis, MOST)
        waiting, behind = (asyncio.create_task(connection_of(client)) for _ in range(2))
        await asyncio.sleep(0)
        await redis.rpush("key", 1)
        async with asyncio.timeout(3):
            await behind
        assert waiting.cancelled()
        await redis.rpush("key", *range(MOST))
        await asyncio.gather(*handing)


async def test_where_the_server_is_silent_those_who_wait_for_a_connection_are_told(
    server: Server,
) -> None:
    async with connect(server.url, 0.5) as client:
        await asyncio.gather(*(connection_of(client) for _ in range(MOST)))
        server.pause()
        outcomes = await asyncio.gather(
            *(connection_of(client) for _ in range(50 * MOST)), return_exceptions=True
        )
        server.resume()
        assert {type(each) for each in outcomes} == {TimeoutError}
        assert client.made <= 3 * MOST
        await connection_of(client)


async def test_connections_that_are_not_needed_any_more_are_closed(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "UNUSED", 0.01)
    before = len(await redis.client_list())
    async with connect(redis_url) as client:
        await asyncio.gather(*(connection_of(client) for _ in range(MOST)))

        async def few() -> bool:
            await connection_of(client)  # Those that are used stay.
            return len(await redis.client_list()) - before <= KEPT

        await until(few, "connections stay open")
        assert client.made == MOST


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


async def test_who_answers_something_else_than_redis_is_told() -> None:
    async def answer(command: Any, writer: asyncio.StreamWriter) -> None:
        """As Redis does, until the first ECHO."""
        writer.write(b"HTTP/1.1 400" if command[0] == b"ECHO" else b"+OK\r\n")

    async with answering(answer) as url, connect(url) as client:
        with pytest.raises(RedisError, match="Protocol error"):
            await client.roundtrip([("ECHO", 1)])
