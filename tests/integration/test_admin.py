"""What the functions for operators do, without workers."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetter, Record, keys, protocol
from runnel.operations import admin
from runnel.operations.registry import announce_processor
from runnel.protocol import Token
from runnel.protocol.scripts import Scripts

NONCE = "n" * 32


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


@pytest.mark.parametrize("behind", [0, 1, 999, 1000, 1001, 2500])
async def test_a_reset_to_an_event_counts_those_behind_it(
    redis: Redis, redis_url: str, app_name: str, behind: int
) -> None:
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=1)
    app.on(orders)(bill)
    scripts, processor = Scripts(redis), app.processors["bill"]
    await admin.add(scripts, processor)
    async with app:
        sent = await orders.send(*(Order(id=number) for number in range(2500)))
    start = sent[-behind].id if behind else "$"
    (checkpoint,) = await admin.reset(scripts, processor, start)
    assert checkpoint == (sent[-behind - 1].id if behind < 2500 else "0-0")
    groups: Any = await redis.xinfo_groups(processor.keys(0).log)
    assert groups[0]["lag"] == behind


async def test_checkpoints_are_returned_in_the_order_of_the_partitions(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)
    app.on(orders)(bill)
    scripts, processor = Scripts(redis), app.processors["bill"]
    await admin.add(scripts, processor)
    async with app:
        sent = dict(await orders.send(*(Order(id=number) for number in range(100))))
    assert await admin.reset(scripts, processor, "$", iter([2, 0, 2])) == [sent[0], sent[2]]
    assert await admin.reset(scripts, processor, "0", []) == []
    assert await admin.pause(scripts, processor, [3, 1]) == 2
    assert await admin.pause(scripts, processor) == 2
    assert await admin.resume(scripts, processor) == 4


async def test_a_skipped_event_becomes_a_dead_letter_where_the_operator_wants_it(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=1)
    app.on(orders)(bill)
    kept = orders.derive("kept", DeadLetter)
    scripts, processor = Scripts(redis), app.processors["bill"]
    await admin.add(scripts, processor)
    async with app:
        (sent,) = await orders.send(Order(id=1))
    claim = protocol.claim(processor.keys(0), orders.spec.contract, "w1", 1, NONCE)
    token = Token(protocol.read_claim(await scripts.call(claim)).epoch, NONCE)
    error = ("ValueError", "no price")
    attempt = protocol.attempt(processor.keys(0), token, "quarantine", sent.id, 3, error)
    await scripts.call(attempt)
    assert await admin.skip(scripts, processor, 0, kept.spec) == sent.id
    assert await redis.xlen(keys.log(kept.spec.prefix(0))) == 1
    assert await admin.skip(scripts, processor, 0, kept.spec) is None


async def test_deleting_a_stream_leaves_other_streams_and_their_processors(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, scripts = App(app_name, redis_url=redis_url), Scripts(redis)
    for name in ("orders", "parcels"):
        stream = app.stream(name, record=Order, partition_by="id", partition_count=2)
        for processor in (f"bill-{name}", f"ship-{name}"):
            app.on(stream, name=processor)(bill)
    for each in app.processors.values():
        await announce_processor(scripts, each)
        await admin.add(scripts, each)
    async with app:
        for stream in app.streams.values():
            await stream.send(*(Order(id=number) for number in range(10)))
    assert await admin.delete_stream(scripts, app.streams["orders"].spec) == 10
    assert await redis.hkeys(keys.streams(app_name)) == [b"parcels"]
    left = {b"parcels@bill-parcels", b"parcels@ship-parcels"}
    assert set(await redis.hkeys(keys.processors(app_name))) == left
    parcels = app.streams["parcels"].spec
    assert sum([await redis.xlen(keys.log(parcels.prefix(p))) for p in range(2)]) == 10
