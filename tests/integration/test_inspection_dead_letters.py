"""How many dead letters wait, and for which processors."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.operations.inspection import Declared
from runnel.operations.registry_entry import Entry
from runnel.protocol import CheckpointMove, PartitionKeys, Token
from tests.integration.inspected import CONTRACT, COUNT, NONCE, Shop, dead, skip


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def test_dead_letters_are_shown_until_a_processor_has_read_them(shop: Shop) -> None:
    await shop.open()
    await dead(shop)
    ids = await shop.send(1, 3)
    await shop.work()

    async def dead_letters() -> tuple[str, Any, int]:
        seen = await shop.seen()
        row = next(each for each in seen["processors"] if each["name"] == "printer")
        return row["state"], row["dead_letters"], seen["totals"]["dead_letters"]

    sink = "orders.printer.dead"
    assert await dead_letters() == ("ok", {"stream": sink, "waiting": 0, "readers": []}, 0)
    await skip(shop, 1, "0-0", ids[0])
    await skip(shop, 1, ids[0], ids[1])
    assert await dead_letters() == ("degraded", {"stream": sink, "waiting": 2, "readers": []}, 2)
    await dead(shop, "fast", "slow")
    assert (await dead_letters())[1:] == (
        {"stream": sink, "waiting": 2, "readers": ["fast", "slow"]},
        2,
    )
    prefix = keys.partition(shop.app, "orders", 1, sink)
    log: Any = await shop.redis.xrange(keys.log(prefix))
    for reader, count in (("fast", 2), ("slow", 1)):
        place, last = PartitionKeys(prefix, reader), log[count - 1][0].decode()
        claim = protocol.claim(place, CONTRACT, "w1", 1, NONCE)
        token = Token(protocol.read_claim(await shop.scripts.call(claim)).epoch, NONCE)
        await shop.scripts.call(protocol.commit(place, token, CheckpointMove("0-0", last, count)))
    assert (await dead_letters())[2] == 1
    place = PartitionKeys(prefix, "slow")
    await shop.scripts.call(
        protocol.commit(place, token, CheckpointMove(last, log[1][0].decode(), 1))
    )
    assert await dead_letters() == (
        "ok",
        {"stream": sink, "waiting": 0, "readers": ["fast", "slow"]},
        0,
    )


async def test_a_sink_with_another_name_is_found_through_the_code_that_declares_it(
    shop: Shop,
) -> None:
    await shop.open()
    ids = await shop.send(1, 1)
    await shop.work()
    sink = keys.partition(shop.app, "orders", 1, "lost")
    move, place = CheckpointMove("0-0", ids[0], 1), shop.keys(1)
    dead = protocol.Sink(sink, CONTRACT, 100, derived=True)
    letters = protocol.Entries(dead, [[b"json", b"{}"]])
    await shop.scripts.call(protocol.transact(place, shop.tokens[1], move, [letters]))
    pair = ("orders", "printer")
    streams = {"orders": Entry(COUNT, "orders"), "lost": Entry(COUNT, "orders")}
    declared = Declared(streams, [pair], {pair: "lost"})
    (processor,) = (await shop.seen(declared=declared))["processors"]
    assert processor["dead_letters"] == {"stream": "lost", "waiting": 1, "readers": []}


async def test_a_reader_that_was_never_registered_reads_nothing(shop: Shop) -> None:
    await shop.open()
    await dead(shop, "reader")
    (event,) = await shop.send(1)
    await shop.work()
    await skip(shop, 1, "0-0", event)
    declared = Declared(processors=[("orders.printer.dead", "idle")])
    seen = await shop.seen(declared=declared)
    printer = next(each for each in seen["processors"] if each["name"] == "printer")
    assert {each["name"] for each in seen["processors"]} == {"printer", "reader", "idle"}
    assert printer["dead_letters"]["readers"] == ["reader"]
    assert printer["dead_letters"]["waiting"] == 1


async def test_dead_letters_of_processors_that_share_a_stream_count_once(shop: Shop) -> None:
    await shop.open()
    await dead(shop)
    (event,) = await shop.send(1)
    await shop.work()
    await skip(shop, 1, "0-0", event)
    sink, pairs = "orders.printer.dead", [("orders", "printer"), ("orders", "other")]
    declared = Declared(processors=pairs, sinks=dict.fromkeys(pairs, sink))
    seen = await shop.seen(declared=declared)
    assert [each["dead_letters"]["waiting"] for each in seen["processors"]] == [1, 1]
    assert seen["totals"]["dead_letters"] == 1
