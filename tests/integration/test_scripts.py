"""Scripts are called by their SHA-1 and loaded where they lack; their errors become Runnel's."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from runnel import keys, protocol
from runnel.connection.connect import connect
from runnel.connection.deployment import of
from runnel.connection.durability import AckRequirement
from runnel.errors import Mismatch, RunnelError
from runnel.protocol import StreamContract
from runnel.protocol import scripts as module
from runnel.protocol.scripts import Call, Scripts, sha, sources
from tests.primaries import on_each
from tests.proxy import Proxy


def declare(app: str, number: int = 0, count: int = 4) -> Call:
    """Declare a stream: the reply is 1 the first time and 0 then."""
    prefix = keys.partition(app, "orders", number, "orders")
    return protocol.declare(prefix, StreamContract(count, "xxh64"))


async def calls(redis: Redis, command: str) -> int:
    """How often the servers have run a command since their figures were reset."""
    primaries = await of(redis).primaries()
    found = [await each.info("commandstats") for each in primaries]
    return sum(each.get(f"cmdstat_{command}", {"calls": 0})["calls"] for each in found)


@pytest.mark.fault(27)
@pytest.mark.parametrize("way", ["call", "call_all"])
async def test_a_script_that_a_server_lacks_is_loaded_and_the_call_repeated(
    redis: Redis, scripts: Scripts, app_name: str, way: str
) -> None:
    await on_each(redis, "SCRIPT FLUSH")
    await on_each(redis, "CONFIG RESETSTAT")
    if way == "call":
        assert await scripts.call(declare(app_name)) == 1
    else:
        assert await scripts.call_all([declare(app_name)]) == [1]
    assert await calls(redis, "script|load") == 1
    assert await scripts.call(declare(app_name)) == 0
    assert await calls(redis, "script|load") == 1


async def test_load_loads_every_script(redis: Redis, scripts: Scripts) -> None:
    await on_each(redis, "SCRIPT FLUSH")
    await scripts.load()
    for node in await scripts.deployment.primaries():
        assert await node.script_exists(*map(sha, sources())) == [True] * len(sources())


async def test_load_refuses_a_server_that_computes_another_sha(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: sha(name) for name in sources()}
    monkeypatch.setattr(module, "sha", {**expected, "tick": "0" * 40}.__getitem__)
    with pytest.raises(RunnelError, match="for the script tick, the file has 0000"):
        await scripts.load()


async def test_the_error_word_of_a_script_becomes_an_exception_with_its_details(
    redis: Redis, scripts: Scripts, app_name: str
) -> None:
    await scripts.call(declare(app_name))
    with pytest.raises(Mismatch) as refused:
        await scripts.call(declare(app_name, count=5))
    assert refused.value.details == {"field": "partitions", "stored": "4", "given": "5"}
    await redis.set(keys.meta(keys.partition(app_name, "orders", 1, "orders")), "a text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await scripts.call(declare(app_name, 1))
    outcomes = await scripts.call_all(
        [declare(app_name, 2), declare(app_name, count=5), declare(app_name, 1), declare(app_name)]
    )
    assert [type(each) for each in outcomes] == [int, Mismatch, ResponseError, int]
    assert (outcomes[0], outcomes[3]) == (1, 0)


async def test_many_calls_take_several_rounds_and_keep_their_order(
    scripts: Scripts, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALLS_PER_ROUND_TRIP", 2)
    wanted = [declare(app_name, number) for number in (0, 1, 0, 2, 1)]
    sent: list[int] = []
    send = scripts.deployment.send

    def counted(commands: Any, *rest: Any) -> Any:
        sent.append(len(commands))
        return send(commands, *rest)

    monkeypatch.setattr(scripts.deployment, "send", counted)
    assert await scripts.call_all(wanted) == [1, 1, 0, 1, 0]
    assert sent == [2, 2, 1]


@pytest.mark.only_on("server")  # It has no replica.
async def test_a_call_that_is_not_acknowledged_as_required_fails_though_it_ran(
    scripts: Scripts, app_name: str
) -> None:
    requirement = AckRequirement("replica")
    with pytest.raises(TimeoutError, match="no replica has it yet"):
        await scripts.call(declare(app_name), requirement)
    assert await scripts.call(declare(app_name)) == 0


@pytest.mark.only_on("server")  # Because of the proxy.
async def test_a_call_whose_reply_is_lost_runs_once(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    await Scripts(redis).load()
    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        proxy.lose_reply_to(sha("declare").encode())
        with pytest.raises(ConnectionError):
            await Scripts(client).call(declare(app_name))
        assert (proxy.requests, proxy.lost) == (1, 1)
    assert await Scripts(redis).call(declare(app_name)) == 0
