"""How many keys tables have and how many bytes they take, as far as the server tells it."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import keys
from runnel.connection.connect import connect
from runnel.operations.table_sizes import Size, sizes
from runnel.protocol.scripts import Scripts
from tests.integration.clerk import Grant
from tests.servers import Server


async def test_the_keys_are_counted_and_the_bytes_are_estimated(
    redis: Redis, app_name: str
) -> None:
    parts = [(keys.partition(app_name, "orders", p, "orders"), "totals") for p in range(3)]
    await redis.hset(keys.table(*parts[1]), mapping={"a": "1", "b": "2"})
    found = await sizes(Scripts(redis), parts)
    assert found == [Size(0, 0), Size(2, await redis.memory_usage(keys.table(*parts[1]))), (0, 0)]
    assert await sizes(Scripts(redis), []) == []


async def test_a_key_of_another_type_has_no_number_of_keys(redis: Redis, app_name: str) -> None:
    part = (keys.partition(app_name, "orders", 0, "orders"), "totals")
    await redis.set(keys.table(*part), "not ours")
    ((count, used),) = await sizes(Scripts(redis), [part])
    assert (count, bool(used)) == (None, True)


@pytest.mark.only_on("server", "sentinel")
@pytest.mark.parametrize(
    ("rules", "expected"), [(["+hlen"], Size(1, None)), ([], Size(None, None))]
)
async def test_a_user_who_may_not_ask_gets_no_number(
    redis: Redis, grant: Grant, rules: list[str], expected: Size
) -> None:
    part = (keys.partition("acl", "items", 0, "items"), "totals")
    await redis.hset(keys.table(*part), "a", "1")
    url = await grant(["+evalsha", "+script|load", "~runnel:{acl:*", *rules])
    async with connect(url) as client:
        assert await sizes(Scripts(client), [part]) == [expected]


async def test_a_server_that_is_gone_is_an_error(app_name: str) -> None:
    part = (keys.partition(app_name, "orders", 0, "orders"), "totals")
    with Server() as server:
        client = connect(server.url)
        scripts = Scripts(client)
        assert await sizes(scripts, [part]) == [Size(0, 0)]
    with pytest.raises((ConnectionError, OSError)):
        await sizes(scripts, [part])
    await client.aclose()
