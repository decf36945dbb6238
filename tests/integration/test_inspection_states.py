"""When a processor is degraded or stalled, and in which state a partition is."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.protocol import CheckpointMove
from tests.integration.inspected import CONTRACT, Shop


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def test_a_quarantined_and_a_paused_partition_degrade(shop: Shop) -> None:
    await shop.open()
    (event,) = await shop.send(2)
    await shop.work()
    error = ("ValueError", "2 is not wanted")
    attempt = protocol.attempt(shop.keys(2), shop.tokens[2], "quarantine", event, 3, error)
    await shop.scripts.call(attempt)
    (processor,) = (await shop.seen())["processors"]
    row = processor["partitions"][2]
    assert processor["state"] == "degraded"
    assert (row["state"], row["attempts"], row["current_event_ms"]) == ("quarantined", 3, None)
    assert 0 <= await shop.now() - row["error"].pop("at_ms") < 5000
    assert row["error"] == {"type": error[0], "message": error[1], "event": event}
    assert (await shop.seen())["totals"]["quarantined"] == 1
    await shop.scripts.call(protocol.resume(shop.keys(2)))
    (processor,) = (await shop.seen())["processors"]
    assert (processor["state"], processor["partitions"][2]["error"]) == ("ok", None)
    await shop.scripts.call(protocol.pause(shop.keys(3)))
    (processor,) = (await shop.seen())["processors"]
    assert (processor["state"], processor["partitions"][3]["state"]) == ("degraded", "paused")


async def fail(shop: Shop, partition: int, event: str, attempts: int = 1) -> None:
    error = ("ValueError", "not wanted")
    token = shop.tokens[partition]
    call = protocol.attempt(shop.keys(partition), token, "failure", event, attempts, error)
    await shop.scripts.call(call)


async def test_a_processor_that_keeps_failing_is_not_ok(shop: Shop) -> None:
    await shop.open()
    first, _ = await shop.send(2, 2)
    await shop.work()
    await fail(shop, 2, first)
    seen = await shop.seen()
    row = seen["processors"][0]["partitions"][2]
    assert (row["state"], row["failing"], row["attempts"]) == ("owned", True, 1)
    assert (seen["processors"][0]["state"], seen["totals"]["failing"]) == ("degraded", 1)
    # Long ago, and still there: it is as bad.
    await shop.set(2, error_at=await shop.now() - 3_600_000)
    assert (await shop.row(2))["failing"]
    move = CheckpointMove("0-0", first, 1)
    await shop.scripts.call(protocol.commit(shop.keys(2), shop.tokens[2], move))
    (processor,) = (await shop.seen())["processors"]
    assert (processor["state"], processor["partitions"][2]["failing"]) == ("ok", False)
    # A handler that fails before its first event: as long as it does, or anything waits for it.
    await fail(shop, 1, "0-0", 0)
    assert (await shop.seen())["processors"][0]["state"] == "degraded"
    await shop.set(1, error_at=await shop.now() - 3_600_000)
    assert (await shop.seen())["processors"][0]["state"] == "ok"
    await shop.send(1)
    assert (await shop.seen())["processors"][0]["state"] == "degraded"


async def test_workers_that_die_one_after_the_other_degrade(shop: Shop) -> None:
    await shop.open()
    await shop.work()
    await shop.set(3, unclean_tenures=5)
    assert (await shop.seen())["processors"][0]["state"] == "ok"
    await shop.send(3)
    await shop.set(3, unclean_tenures=1)
    assert (await shop.seen())["processors"][0]["state"] == "ok"
    await shop.set(3, unclean_tenures=2)
    assert (await shop.seen())["processors"][0]["state"] == "degraded"


async def test_a_partition_that_its_owner_must_release_is_moving(shop: Shop) -> None:
    await shop.open()
    grants = await shop.work()
    await shop.join("w2")
    await shop.join("w1", 2, grants)
    (processor,) = (await shop.seen())["processors"]
    states = [row["state"] for row in processor["partitions"]]
    assert sorted(states) == ["moving", "moving", "owned", "owned"]
    assert {row["owner"] for row in processor["partitions"]} == {"w1"}
    assert processor["state"] == "ok"
    assert (await shop.seen())["totals"]["members"] == 2


async def test_a_partition_stalls_if_its_current_event_takes_long(shop: Shop) -> None:
    await shop.open()
    await shop.send(1)
    await shop.work()
    await shop.set(1, moved_at=await shop.now() - 90_000)
    # The event came after the checkpoint had moved for the last time: it counts from then.
    assert (await shop.row(1))["current_event_ms"] < 30_000
    old = await shop.now() - 300_000
    log = shop.keys(2).log
    await shop.redis.xadd(log, {"json": "{}"}, id=f"{old}-0")
    await shop.set(2, moved_at=await shop.now() - 90_000)
    row = await shop.row(2)
    assert 90_000 <= row["current_event_ms"] < 120_000
    assert (await shop.seen())["processors"][0]["state"] == "stalled"
    (patient,) = (await shop.seen(stalled_after_ms=200_000))["processors"]
    assert patient["state"] == "ok"


@pytest.mark.parametrize("by", ["drop_oldest", "others"])
async def test_a_partition_stalls_though_its_current_event_was_dropped(shop: Shop, by: str) -> None:
    await shop.open()
    await shop.send(1, 9)
    await shop.work()
    await shop.set(1, moved_at=await shop.now() - 90_000)
    assert (await shop.row(1))["current_event_ms"] < 30_000
    prefix, policy = shop.keys(1).prefix, "drop_oldest"
    call = protocol.append(prefix, CONTRACT, 10, policy, "p", 1, [[b"json", b"{}"]] * 7)
    if by == "others":
        await shop.redis.xtrim(keys.log(prefix), 3, approximate=False)
    else:
        await shop.scripts.call(call)
    assert 90_000 <= (await shop.row(1))["current_event_ms"] < 120_000
    assert (await shop.seen())["processors"][0]["state"] == "stalled"


async def test_without_a_known_move_nothing_stalls(shop: Shop) -> None:
    await shop.open()
    old = await shop.now() - 300_000
    await shop.redis.xadd(shop.keys(2).log, {"json": "{}"}, id=f"{old}-0")
    await shop.work()
    await shop.redis.hdel(shop.keys(2).state, "moved_at")
    assert (await shop.row(2))["current_event_ms"] is None
    assert (await shop.seen())["processors"][0]["state"] == "ok"


async def test_emitted_entries_that_nobody_can_forward_degrade(shop: Shop) -> None:
    await shop.open()
    await shop.work()
    await shop.set(1, outbox_last=9, outbox_done=4, outbox_lost=2)
    (processor,) = (await shop.seen())["processors"]
    row = processor["partitions"][1]
    assert (row["outbox"], row["outbox_lost"], row["outbox_waits_for"]) == (5, 2, None)
    assert processor["state"] == "ok", "its owner forwards them"
    since = await shop.now() - 5000
    await shop.set(1, outbox_waits_for="alerts", outbox_reason="of mail", outbox_since=since)
    (processor,) = (await shop.seen())["processors"]
    found = processor["partitions"][1]["outbox_waits_for"]
    assert 5000 <= found.pop("since_ms") < 15_000
    assert found == {"stream": "alerts", "reason": "of mail"}
    assert processor["state"] == "degraded"
