"""The new halves of docs/migrating run, and what they move is moved once and in order."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, keys

ROOT = Path(__file__).parents[2]
#: What FastStream 0.7.8 has written for {"customer":"ann","amount":0}.
FRAME = (
    b"\x89BIN\r\n\x1a\n\x00\x01\x00\x00\x00\x12\x00\x00\x00p\x00\x03\x00\x0ecorrelation_id\x00$"
    b"f44cf558-8de0-4306-bb06-c16617d3dc32\x00\x0ccontent-type\x00\x10application/json\x00\x01a"
    b'\x00\x01b{"customer":"ann","amount":0}'
)


@pytest.fixture
def page(request: pytest.FixtureRequest, redis_url: str) -> dict[str, Any]:
    """The names that the blocks of a page define, with its app on the server of the test."""
    path = ROOT / "docs/migrating" / request.param
    names: dict[str, Any] = {"__name__": path.stem}
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S):
        exec(compile(block, path.name, "exec", dont_inherit=True), names)
    app = names["app"]
    assert isinstance(app, App)
    app.configure(redis_url=redis_url)
    return names


async def stored(redis: Redis, page: dict[str, Any]) -> list[Any]:
    """The records of its stream of orders, partition after partition."""
    spec = page["orders"].spec
    found = []
    for partition in range(spec.partition_count):
        entries: Any = await redis.xrange(keys.log(spec.prefix(partition)))
        for _, fields in entries:
            found.append(spec.codec.decode([part for pair in fields.items() for part in pair]))
    return found


async def left_by_a_group(redis: Redis, key: str, group: str, entries: list[dict[Any, Any]]) -> int:
    """A log of which a group has acknowledged the first entry; the second is pending. Returns how
    many are left."""
    for number, each in enumerate(entries):
        await redis.xadd(key, each, id=f"1795996112{number // 2:03}-{number % 2}")
    await redis.xgroup_create(key, group, id="0")
    read: Any = await redis.xreadgroup(group, "1", {key: ">"}, count=2)
    ((_, ((first, _), _)),) = read
    await redis.xack(key, group, first)
    return len(entries) - 1


@pytest.mark.only_on("server")
@pytest.mark.parametrize("page", ["runnel-2020.md"], indirect=True)
async def test_what_the_runnel_of_2020_has_left_is_moved_once(
    page: dict[str, Any], redis: Redis
) -> None:
    left = 0
    for partition in (0, 15):
        orders = [
            {"order_id": partition, "created_at": "2020-11-23T12:00:09", "amount": float(n)}
            for n in range(7)
        ]
        entries = [{b"data": json.dumps(each).encode()} for each in orders]
        left += await left_by_a_group(redis, f"__strm:myapp.orders.{partition}", "printer", entries)
    async with page["app"]:
        assert await page["move"](redis, "printer") == left == 12
        assert await page["move"](redis, "printer") == 0, "the second run finds all there"
        assert await redis.exists("__strm:myapp.orders.0")
        found = await stored(redis, page)
    for partition in (0, 15):
        amounts = [each.amount for each in found if each.order_id == partition]
        assert amounts == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.only_on("server")
@pytest.mark.parametrize("page", ["faststream.md"], indirect=True)
async def test_what_faststream_has_left_is_moved_once(page: dict[str, Any], redis: Redis) -> None:
    assert page["body_of"](FRAME) == b'{"customer":"ann","amount":0}'
    assert page["body_of"](b'{"customer":"bob"}') == b'{"customer":"bob"}'
    bodies = [FRAME.replace(b'"amount":0', f'"amount":{n}'.encode()) for n in range(5)]
    left = await left_by_a_group(
        redis, "orders", "billing", [{b"__data__": each} for each in bodies]
    )
    async with page["app"]:
        assert await page["move"](redis, "orders", "billing") == left == 4
        assert await page["move"](redis, "orders", "billing") == 0
        assert [each.amount for each in await stored(redis, page)] == [1, 2, 3, 4]


@pytest.mark.only_on("server")
@pytest.mark.parametrize("page", ["faust.md"], indirect=True)
async def test_messages_of_kafka_are_copied_once(page: dict[str, Any], redis: Redis) -> None:
    async def messages(end: int) -> AsyncIterator[tuple[int, bytes]]:
        for offset in range(3, end):
            order = {"account": "ann", "country": "FR", "amount": offset}
            yield offset, json.dumps(order).encode()

    async with page["app"]:
        assert await page["copy"](0, messages(7)) == 4
        assert await page["copy"](0, messages(9)) == 2, "what is there is not sent again"
        assert [each.amount for each in await stored(redis, page)] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("page", ["faust.md", "faststream.md"], indirect=True)
async def test_the_tests_on_the_pages_pass(page: dict[str, Any]) -> None:
    (test,) = [each for name, each in page.items() if name.startswith("test_")]
    await test()


@pytest.mark.parametrize("page", ["runnel-2020.md"], indirect=True)
async def test_the_example_of_2020_takes_batches(
    page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    order = page["Order"](order_id=1, created_at="2026-11-23T12:00:09", amount=9.5)
    async with page["app"].test() as t:
        await t.send(page["orders"], order, order)
        await t.drain()
    assert "[9.5, 9.5]" in capsys.readouterr().out
