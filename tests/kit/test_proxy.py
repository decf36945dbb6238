"""What a proxy sees, and what it does to calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError

from runnel import protocol
from runnel.conformance.contract import CONTRACT, GROUP, PARTS
from runnel.conformance.proxy import REPORT, Proxy
from runnel.conformance.watch import Watch
from runnel.protocol import Released
from runnel.protocol.scripts import sources

CALL = protocol.declare(PARTS[0].prefix, CONTRACT).command()


def client(proxy: Proxy) -> Redis:
    return Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0), socket_timeout=1.0)


async def ask(redis: Redis) -> Any:
    return await redis.execute_command(*CALL)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
async def loaded(watch: Watch) -> None:
    await watch.ask("SCRIPT", "LOAD", sources()["declare"])


async def test_a_call_and_its_reply_are_seen(proxy: Proxy) -> None:
    async with client(proxy) as redis:
        assert await ask(redis) == 1
    (call,) = proxy._history.calls
    assert (call.script, call.ok, call.answered is not None) == ("declare", [1], True)


async def test_a_lost_reply(proxy: Proxy) -> None:
    proxy.lose["declare"] = 1
    async with client(proxy) as redis:
        with pytest.raises(ConnectionError):
            await ask(redis)
        assert await ask(redis) == 0, "the first one was carried out"
    first, second = proxy._history.calls
    assert (first.ok, first.answered, second.answered is not None) == ([1], None, True)
    assert proxy.harm_left == 0


async def test_a_lost_reply_to_a_report(proxy: Proxy, watch: Watch) -> None:
    """It is the reply to a sync that reports what was released."""

    def sync(number: int, *released: Released) -> tuple[Any, ...]:
        member = ("w1", "start", "host 1 test 0")
        times = (1500, 5000, 0)
        return protocol.sync(GROUP, 4, times, member, number, "stay", [], released).command()

    await watch.ask("SCRIPT", "LOAD", sources()["sync"])
    proxy.lose[REPORT] = 1
    async with client(proxy) as redis:
        await redis.execute_command(*sync(1))  # type: ignore[no-untyped-call]
        with pytest.raises(ConnectionError):
            await redis.execute_command(  # type: ignore[no-untyped-call]
                *sync(2, Released(0, 1, 0))
            )
    assert [call.answered is not None for call in proxy._history.calls] == [True, False]
    assert proxy.harm_left == 0


async def test_a_call_that_lacked_its_script_is_not_lost(proxy: Proxy, watch: Watch) -> None:
    await watch.ask("SCRIPT", "FLUSH")
    proxy.lose["declare"] = 1
    async with client(proxy) as redis:
        with pytest.raises(Exception, match="No matching script"):
            await ask(redis)
    assert proxy.harm_left == 1


async def test_a_muted_call_is_carried_out_and_its_connection_stays_silent(proxy: Proxy) -> None:
    proxy.mute["declare"] = 1
    async with client(proxy) as redis:
        with pytest.raises(TimeoutError):
            await ask(redis)
        assert await ask(redis) == 0, "a new connection works"
    assert proxy.muted == {proxy._history.calls[0]}


async def test_a_swallowed_call_never_arrives(proxy: Proxy) -> None:
    proxy.swallow.add("declare")
    async with client(proxy) as redis:
        await redis.ping()
        with pytest.raises(ConnectionError):
            await ask(redis)
        proxy.heal()
        assert await ask(redis) == 1
    assert proxy._history.calls[0].swallowed


@pytest.mark.parametrize("way", ["requests", "replies"])
async def test_held_data_arrives_later(proxy: Proxy, watch: Watch, way: str) -> None:
    async with client(proxy) as redis:
        await redis.ping()
        proxy.hold(way)  # type: ignore[arg-type]
        call = asyncio.create_task(ask(redis))

        async def seen() -> bool:
            return bool(proxy._history.calls)

        assert await watch.until(seen, 10.0, 0.001)
        assert not call.done()
        proxy.heal()
        assert await call == 1


async def test_who_has_left_gets_no_reply(proxy: Proxy, watch: Watch) -> None:
    async with client(proxy) as redis:
        await redis.ping()
        proxy.hold("requests")
        with pytest.raises(TimeoutError):
            await ask(redis)
    proxy.heal()
    (call,) = proxy._history.calls

    async def carried_out() -> bool:
        return call.ok == [1]

    assert await watch.until(carried_out, 10.0, 0.001)
    assert call.answered is None


async def test_a_late_reply(proxy: Proxy) -> None:
    proxy.late["declare"] = 0.05
    async with client(proxy) as redis:
        assert await ask(redis) == 1
    (call,) = proxy._history.calls
    assert call.answered_at is not None
    assert call.answered_at - call.at >= 0.05


async def test_cut_connections_and_a_server_that_is_away(proxy: Proxy) -> None:
    async with client(proxy) as redis:
        await redis.ping()
        proxy.cut()
        with pytest.raises(ConnectionError):
            await redis.ping()
        proxy._path = "/nowhere"
        with pytest.raises(ConnectionError):
            await redis.ping()
