"""Round trips: each gets its own replies, whole, and connections are reused, or closed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from runnel.connection import redis_client
from runnel.connection.connect import connect
from runnel.connection.redis_client import KEEP_IDLE, MAX_CONNECTIONS, Client
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
        answered = asyncio.create_task(client.wait_for_orphans())
        await redis.rpush("key", "late")
        await answered
        assert await connection_of(client) == number
        assert client.connections_made == 2


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
        client.abandon()
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
            await client.wait_for_orphans()
        await blocked(redis, 0)
        assert await connection_of(client) != number


async def test_calls_wait_for_a_connection_in_the_order_of_asking(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        replies = await asyncio.gather(*(client.roundtrip([("INCR", "n")]) for _ in range(1000)))
        assert client.connections_made == MAX_CONNECTIONS
        # As many as there are connections are under way at a time, so they may change places.
        assert all(
            abs(number - reply[0]) <= 2 * MAX_CONNECTIONS for number, reply in enumerate(replies)
        )


async def test_who_waits_gets_a_connection_whatever_becomes_of_those_in_use(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        stuck = [
            asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)], 1.0))
            for _ in range(MAX_CONNECTIONS)
        ]
        await blocked(redis, MAX_CONNECTIONS)
        first, second, third = (asyncio.create_task(connection_of(client)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        stuck[0].cancel()  # One is closed, and a new one takes its place.
        await second
        await third
        assert first.cancelled()
        killed: Any = await redis.client_kill_filter(_type="normal", skipme=True)
        assert killed >= MAX_CONNECTIONS - 1
        for outcome in await asyncio.gather(*stuck, return_exceptions=True):
            assert isinstance(outcome, (ConnectionError, asyncio.CancelledError))
        with contextlib.suppress(ConnectionError):  # It may be told of one that was lost.
            await connection_of(client)
        await asyncio.gather(*(connection_of(client) for _ in range(2 * MAX_CONNECTIONS)))


async def test_who_is_given_a_connection_and_cancelled_at_once_gives_it_on(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:

        async def hand_over() -> None:
            await client.roundtrip([("BLPOP", "key", 0)], 1.0)
            waiting.cancel()  # It has been given the connection, and does not know yet.

        handing = [asyncio.create_task(hand_over()) for _ in range(MAX_CONNECTIONS)]
        await blocked(redis, MAX_CONNECTIONS)
        waiting, behind = (asyncio.create_task(connection_of(client)) for _ in range(2))
        await asyncio.sleep(0)
        await redis.rpush("key", 1)
        async with asyncio.timeout(3):
            await behind
        assert waiting.cancelled()
        await redis.rpush("key", *range(MAX_CONNECTIONS))
        await asyncio.gather(*handing)


async def test_where_the_server_is_silent_those_who_wait_for_a_connection_are_told(
    server: Server,
) -> None:
    async with connect(server.url, 0.5) as client:
        await asyncio.gather(*(connection_of(client) for _ in range(MAX_CONNECTIONS)))
        server.pause()
        outcomes = await asyncio.gather(
            *(connection_of(client) for _ in range(50 * MAX_CONNECTIONS)), return_exceptions=True
        )
        server.resume()
        assert {type(each) for each in outcomes} == {TimeoutError}
        assert client.connections_made <= 3 * MAX_CONNECTIONS
        await connection_of(client)


async def test_connections_that_are_not_needed_any_more_are_closed(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "CLOSE_IDLE_AFTER", 0.01)
    before = len(await redis.client_list())
    async with connect(redis_url) as client:
        await asyncio.gather(*(connection_of(client) for _ in range(MAX_CONNECTIONS)))

        async def few() -> bool:
            await connection_of(client)  # Those that are used stay.
            return len(await redis.client_list()) - before <= KEEP_IDLE

        await until(few, "connections stay open")
        assert client.connections_made == MAX_CONNECTIONS
