"""Round trips get their own complete replies, and connections are reused or closed."""

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

#: A client of a cluster sends such calls by its deployment.
pytestmark = pytest.mark.only_on("server", "sentinel")


async def connection_of(client: Client) -> int:
    (number,) = await client.roundtrip([("CLIENT", "ID")])
    return int(number)


async def wait_until_blocked(redis: Redis, number: int = 1) -> None:
    """Wait until `number` clients block on a key."""

    async def enough_blocked() -> bool:
        return int((await redis.info("clients"))["blocked_clients"]) == number

    await until(enough_blocked, "the number of blocked clients is not reached")


async def is_disconnected(redis: Redis) -> bool:
    """True once the client named "closing" has no connection left."""
    return all(each["name"] != "closing" for each in await redis.client_list())


async def test_replies_that_come_in_many_pieces_are_whole_and_in_order(redis_url: str) -> None:
    async with connect(redis_url) as client:
        large = [bytes([65 + number]) * 300_000 for number in range(9)]
        replies = await client.roundtrip([("ECHO", each) for each in large])
        assert replies == large


async def test_an_error_is_the_reply_of_its_own_command_only(redis_url: str) -> None:
    async with connect(redis_url) as client:
        first, refusal, last = await client.roundtrip([("ECHO", 1), ("GET",), ("ECHO", 3)])
        assert (first, last) == (b"1", b"3")
        assert isinstance(refusal, ResponseError)


async def test_a_connection_that_was_lost_while_idle_fails_one_call(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        await redis.client_kill_filter(_id=str(number))
        with pytest.raises(ConnectionError):
            await client.roundtrip([("PING",)])
        assert await connection_of(client) != number


async def test_a_waiting_call_fails_when_its_connection_is_lost(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)]))
        await wait_until_blocked(redis)
        await redis.client_kill_filter(_id=str(number))
        with pytest.raises(ConnectionError):
            await waiting
        assert await connection_of(client) != number


async def test_a_connection_with_an_outstanding_reply_is_not_reused(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url, 0.05) as client:
        number = await connection_of(client)
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            await client.roundtrip([("BLPOP", "key", 0)])
        await redis.rpush("key", "late")
        assert await connection_of(client) != number


async def test_after_a_cancelled_call_a_connection_is_reused_only_once_the_reply_came(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)]))
        await wait_until_blocked(redis)
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
    client = connect(redis_url, 60.0)
    waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)]))
    await wait_until_blocked(redis)
    await client.aclose()
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(20):  # Sooner than the reply times out.
        await wait_until_blocked(redis, 0)


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
    await until(lambda: is_disconnected(redis), "a connection stays open")


async def test_abandon_closes_connections_in_use_when_the_loop_no_longer_runs(
    redis: Redis, redis_url: str
) -> None:
    def stop_with_a_call_under_way() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(begin())
        client.abandon()
        return loop

    async def begin() -> Client:
        client = connect(redis_url, client_name="closing")
        started.append(asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)])))
        async with connect(redis_url) as observer:
            await wait_until_blocked(observer)
        return client

    started: list[asyncio.Task[Any]] = []
    loop = await asyncio.to_thread(stop_with_a_call_under_way)
    await until(lambda: is_disconnected(redis), "a connection stays open")
    outcome = loop.run_until_complete
    await asyncio.to_thread(outcome, asyncio.wait(started))
    await asyncio.to_thread(loop.close)
    assert isinstance(started[0].exception(), ConnectionError)


async def test_a_cancelled_blocking_read_ends_on_the_server(redis: Redis, redis_url: str) -> None:
    async with connect(redis_url) as client:
        number = await connection_of(client)
        waiting = asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)], 1.0))
        await wait_until_blocked(redis)
        waiting.cancel()
        await asyncio.wait([waiting])
        async with asyncio.timeout(20):
            await client.wait_for_orphans()
        await wait_until_blocked(redis, 0)
        assert await connection_of(client) != number


async def test_calls_wait_for_a_connection_in_the_order_of_asking(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        stuck = [
            asyncio.create_task(client.roundtrip([("BLPOP", "key", 0)], 60.0))
            for _ in range(MAX_CONNECTIONS)
        ]
        await wait_until_blocked(redis, MAX_CONNECTIONS)
        waiting = [asyncio.create_task(client.roundtrip([("INCR", "n")])) for _ in range(1000)]
        # One connection becomes free, and serves all of them.
        await redis.rpush("key", "first")
        assert await asyncio.gather(*waiting) == [[number] for number in range(1, 1001)]
        assert client.connections_made == MAX_CONNECTIONS
        await redis.rpush("key", *range(MAX_CONNECTIONS - 1))
        await asyncio.gather(*stuck)


async def test_a_waiting_call_gets_a_connection_even_if_those_in_use_fail(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:
        stuck = [
            asyncio.create_task(client.roundtrip([("BLPOP", "nothing", 0)], 1.0))
            for _ in range(MAX_CONNECTIONS)
        ]
        await wait_until_blocked(redis, MAX_CONNECTIONS)
        first, second, third = (asyncio.create_task(connection_of(client)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        stuck[0].cancel()  # Its connection is closed and replaced by a new one.
        await second
        await third
        assert first.cancelled()
        killed: Any = await redis.client_kill_filter(_type="normal", skipme=True)
        assert killed >= MAX_CONNECTIONS - 1
        for outcome in await asyncio.gather(*stuck, return_exceptions=True):
            assert isinstance(outcome, (ConnectionError, asyncio.CancelledError))
        with contextlib.suppress(ConnectionError):  # It may get a connection that was lost.
            await connection_of(client)
        await asyncio.gather(*(connection_of(client) for _ in range(2 * MAX_CONNECTIONS)))


async def test_a_call_that_is_cancelled_as_it_gets_a_connection_passes_it_on(
    redis: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as client:

        async def release_then_cancel() -> None:
            await client.roundtrip([("BLPOP", "key", 0)], 1.0)
            waiting.cancel()  # It was assigned the connection, and has not run yet.

        holders = [asyncio.create_task(release_then_cancel()) for _ in range(MAX_CONNECTIONS)]
        await wait_until_blocked(redis, MAX_CONNECTIONS)
        waiting, second = (asyncio.create_task(connection_of(client)) for _ in range(2))
        await asyncio.sleep(0)
        await redis.rpush("key", 1)
        async with asyncio.timeout(20):
            await second
        assert waiting.cancelled()
        await redis.rpush("key", *range(MAX_CONNECTIONS))
        await asyncio.gather(*holders)


async def test_calls_that_wait_for_a_connection_time_out_when_the_server_is_silent(
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


async def test_idle_connections_are_closed(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "CLOSE_IDLE_AFTER", 0.01)
    before = len(await redis.client_list())
    async with connect(redis_url) as client:
        await asyncio.gather(*(connection_of(client) for _ in range(MAX_CONNECTIONS)))

        async def few() -> bool:
            await connection_of(client)  # A connection in use stays open.
            return len(await redis.client_list()) - before <= KEEP_IDLE

        await until(few, "connections stay open")
        assert client.connections_made == MAX_CONNECTIONS


async def test_no_commands_have_no_replies_and_wait_for_none(redis_url: str) -> None:
    async with connect(redis_url) as client:
        async with asyncio.timeout(20):
            assert await client.roundtrip([]) == []
        assert await client.roundtrip([("PING",)]) == [b"PONG"]
