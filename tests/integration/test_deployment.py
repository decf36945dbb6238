"""Commands of one server get an outcome each, and a script that it lacks is loaded."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, NoScriptError, ResponseError

from runnel.connection import deployment
from runnel.connection.connect import connect
from runnel.connection.deployment import Deployment
from runnel.connection.redis_client import Arg
from tests.proxy import Proxy

SOURCE = b"return {KEYS[1], ARGV[1]}"
SHA = hashlib.sha1(SOURCE, usedforsecurity=False).hexdigest()


def script(key: str, value: str) -> tuple[str, list[Arg]]:
    """A call of the script."""
    return key, ["EVALSHA", SHA, 1, key, value]


async def test_a_script_that_is_not_loaded_is_loaded_once_and_every_outcome_keeps_its_place(
    redis: Redis,
) -> None:
    here = deployment.of(redis)
    commands: list[Any] = [("a", ("SET", "a", "1")), script("a", "x"), ("a", ("LPOP", "a"))]
    for node in await here.primaries():
        await node.script_flush()
    *_, unknown = await here.send([*commands, script("a", "y")])
    assert isinstance(unknown, NoScriptError)
    first, second, third, fourth = await here.send([*commands, script("a", "y")], {SHA: SOURCE})
    assert (first, second, fourth) == (b"OK", [b"a", b"x"], [b"a", b"y"])
    assert isinstance(third, ResponseError)
    assert "WRONGTYPE" in str(third)
    assert (await here.send([script("a", "z")])) == [[b"a", b"z"]]


@pytest.mark.only_on("server")
@pytest.mark.parametrize(("times", "runs"), [(1, True), (4, True), (5, False)])
async def test_a_script_that_is_forgotten_between_the_load_and_the_call_is_loaded_again(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, times: int, runs: bool
) -> None:
    await redis.script_flush()
    async with connect(redis_url) as client:
        here, loads = deployment.of(client), list[int]()
        roundtrip = here.client.roundtrip

        async def flushed_between(commands: Any) -> list[Any]:
            if commands[0][:2] != ("SCRIPT", "LOAD"):
                return await roundtrip(commands)
            loads.append(1)
            found = await roundtrip(commands[:1])
            if len(loads) <= times:
                await redis.script_flush()
            return found + await roundtrip(commands[1:])

        monkeypatch.setattr(here.client, "roundtrip", flushed_between)
        (outcome,) = await here.send([script("a", "x")], {SHA: SOURCE})
    assert (outcome == [b"a", b"x"]) is runs
    assert isinstance(outcome, NoScriptError) is not runs
    assert len(loads) == min(times + 1, deployment.MOST_LOADS)


@pytest.mark.only_on("server")  # Because of the proxy.
async def test_a_lost_connection_is_the_outcome_of_every_command(
    redis: Redis, redis_url: str
) -> None:
    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        here = deployment.of(client)
        assert type(here) is Deployment
        assert here.node_of("a") == here.node_of("b")
        assert here.client_for("a") is client
        proxy.lose_reply_to(b"INCR")
        outcomes = await here.send([("a", ("INCR", "a")), ("b", ("INCR", "b"))])
    assert [type(each) for each in outcomes] == [ConnectionError] * 2
    assert await redis.mget("a", "b") == [b"1", b"1"], "both were carried out, once"


@pytest.mark.only_on("server")  # Because of the proxy.
async def test_a_question_is_asked_again_after_a_lost_connection(
    redis: Redis, redis_url: str
) -> None:
    await redis.set("a", "1")
    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        proxy.lose_reply_to(b"GET")
        assert await deployment.of(client).ask([("a", ("GET", "a"))]) == [b"1"]
        assert proxy.lost == 1


async def test_a_question_that_is_refused_raises_the_first_error(redis: Redis) -> None:
    await redis.set("a", "1")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await deployment.of(redis).ask([("a", ("GET", "a")), ("a", ("LPOP", "a"))])
