"""What it takes to look at delayed events, and to cancel one."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import protocol
from runnel.connection.connect import connect
from runnel.errors import Mismatch, ServerError
from runnel.operations.waiting import next_due
from runnel.preflight.delayed_checks import check_delayed, required_by_delayed
from runnel.protocol.scripts import Scripts
from tests.integration.clerk import Grant, minimal_rules
from tests.integration.sends import declare, items


@pytest.mark.only_on("server", "sentinel")
@pytest.mark.parametrize("cancels", [False, True])
async def test_the_required_rules_are_enough(
    redis: Redis, redis_url: str, app_name: str, grant: Grant, cancels: bool
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        (receipt,) = await stream.send(*items(1), delay=60)
    url = await grant(minimal_rules(required_by_delayed(stream.spec, cancels)))
    async with connect(url) as client:
        scripts = Scripts(client)
        await check_delayed(scripts, stream.spec, url, cancels)
        assert len(await next_due(scripts, stream.spec, range(4), 9)) == 1
        if cancels:
            prefix = stream.spec.prefix(receipt.partition)
            assert await scripts.call(protocol.cancel(prefix, *receipt.parts())) == 1
        else:
            with pytest.raises(ServerError, match="ACL SETUSER"):
                await check_delayed(scripts, stream.spec, url, cancels=True)


async def test_a_stream_with_another_count_is_a_mismatch(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        await stream.send(*items(1), delay=60)
    _, other = declare(app_name, redis_url, count=8)
    with pytest.raises(Mismatch):
        await check_delayed(Scripts(redis), other.spec, redis_url)
