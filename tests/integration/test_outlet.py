"""One producer and one partition, where answers go astray."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import App, Record, keys
from runnel.errors import Full
from runnel.outlet import Outlet
from runnel.scripts import Call, Scripts


class Item(Record):
    number: int


async def test_a_refusal_does_not_free_the_number_of_a_try_that_may_still_arrive(
    redis: Redis, app_name: str
) -> None:
    app = App(app_name)
    stream = app.stream("items", record=Item, partition_by="number", partition_size=2)
    spec, scripts = stream.spec, Scripts(redis)
    log = keys.log(spec.prefix(0))
    outlet = Outlet(spec, 0, resend=10.0)
    under_way: list[Call] = []

    def entry(number: int) -> list[bytes]:
        return spec.codec.encode(Item(number=number))

    async def first_is_held_up(call: Call) -> Any:
        """The first try stays in the network; its repeat arrives before it."""
        if not under_way:
            under_way.append(call)
            raise ConnectionError("no answer")
        return await scripts.call(call)

    for number in (1, 2):
        await outlet.append([[entry(number)]], "refuse", 0.0, scripts.call)
    with pytest.raises(Full):
        await outlet.append([[entry(3)]], "refuse", 0.0, first_is_held_up)
    await redis.xtrim(log, maxlen=0)
    await scripts.call(under_way[0])
    (place,) = await outlet.append([[entry(4)]], "refuse", 0.0, scripts.call)

    found: Any = await redis.xrange(log)
    assert [
        spec.codec.decode([each for pair in fields.items() for each in pair]).number
        for _, fields in found
    ] == [3, 4]
    assert found[-1][0].decode() == place
