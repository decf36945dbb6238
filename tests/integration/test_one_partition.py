"""All that is known of one partition of a processor, with events that failed in every way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Record, Worker, keys
from runnel.connection.connect import connect
from runnel.errors import ConfigError
from runnel.operations import inspection, one_partition
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import Scripts
from runnel.stream import Stream
from tests.inspect_schema import validated
from tests.integration.clerk import Grant
from tests.worker.workers import until

SERVER = ServerInfo("valkey", "9.1.2", "standalone")


class Order(Record):
    id: int
    note: str = ""


@pytest.fixture
async def orders(redis: Redis, redis_url: str, app_name: str) -> AsyncIterator[Stream[Order]]:
    """A stream with a processor for each policy; all refuse ids below zero."""
    app = App(app_name, redis_url=redis_url, retries=0, backoff=3600)
    stream = app.stream("orders", record=Order, partition_by=lambda order: abs(order.id))
    kinds: dict[str, Any] = {
        "quarantine": {},
        "park": {},
        "retry_later": {"retries": 1},
        "ignore": {"middleware": [DeadLetterMiddleware()]},
    }
    for policy, options in kinds.items():

        async def handle(order: Order) -> None:
            if order.id < 0:
                raise ValueError("below zero")

        app.on(stream, name=policy, exception_policy=policy, **options)(handle)
    yield stream
    await app.close()


async def looked(
    redis: Redis, stream: Stream[Order], processor: str, code: bool = True, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of the partition of -7, and all that is known of it."""
    seen = await inspection.inspect(redis, SERVER, stream.spec.app, processor=processor)
    specs = {name: each.spec for name, each in stream.app.streams.items()} if code else None
    number = stream.spec.partition(Order(id=7))
    detail = await one_partition.look(Scripts(redis), seen, number, specs, 60_000, **options)
    validated({**seen, "partition": detail})
    row: dict[str, Any] = seen["processors"][0]["partitions"][number]
    return row, detail


async def test_an_event_that_failed_in_every_way(redis: Redis, orders: Stream[Order]) -> None:
    app = orders.app
    assert isinstance(app, App)
    sent = await orders.send(Order(id=-7, note="ä"), Order(id=7), headers={"trace": "t1"})
    failed, after = sent[0].id, sent[1].id

    async def settled() -> bool:
        seen = await inspection.inspect(redis, SERVER, app.name)
        totals = seen["totals"]
        done = totals["quarantined"], totals["parked"], totals["postponed"], totals["dead_letters"]
        return done == (1, 2, 1, 1)

    async with Worker(app):
        await until(settled, "all have failed")
        row, detail = await looked(redis, orders, "quarantine", raw=True)
        (member,) = (await inspection.inspect(redis, SERVER, app.name, processor="park"))["members"]
        assert (member["processor"], row["state"]) == ("park", "quarantined")
    assert detail["traceback"].endswith("ValueError: below zero\n")
    assert 'raise ValueError("below zero")' in detail["traceback"]
    assert "/runnel/" not in detail["traceback"]
    happened = [(each["what"], each["member"]) for each in detail["history"]]
    assert happened == [("claimed", row["owner"]), ("quarantined", row["owner"])]
    assert detail["history"][1]["more"] == failed
    event = detail["event"]
    assert (event["id"], event["failed"], event["gone"]) == (failed, True, False)
    assert event["record"] == {"id": -7, "note": "ä"}
    assert (event["key"], event["headers"]) == ("7", {"trace": "t1"})
    assert event["raw"][0] == ["msgpack", r"\x82\xa2id\xf9\xa4note\xa2\xc3\xa4"]
    assert (detail["parked"], detail["postponed"], detail["dead_letters"]) == ([], [], [])

    row, detail = await looked(redis, orders, "park")
    assert detail["event"] is None
    (key,) = detail["parked"]
    assert key.pop("at_ms") > 0
    assert key == {
        "key": "7",
        "events": 2,
        "replaying": False,
        "event": failed,
        "attempts": 1,
        "error": "ValueError: below zero",
    }
    row, detail = await looked(redis, orders, "retry_later")
    (postponed,) = detail["postponed"]
    assert 0 < postponed["due_in_ms"] <= 3_600_000
    assert (postponed["event"], postponed["key"], postponed["attempts"]) == (failed, "7", 1)
    assert postponed["error"] == "ValueError: below zero"

    for code in (True, False):
        row, detail = await looked(redis, orders, "ignore", code)
        (letter,) = detail["dead_letters"]
        assert (letter["event"], letter["attempts"]) == (failed, 1)
        assert letter["error"] == "ValueError: below zero"
        assert letter["record"] == {"id": -7, "note": "ä"}
        assert row["checkpoint"] == after
    # Without code, the entry says how to read it; what its key is, only the code knows.
    row, detail = await looked(redis, orders, "quarantine", code=False)
    assert detail["event"]["record"] == {"id": -7, "note": "ä"}
    assert detail["event"]["key"] is None
    await redis.xdel(keys.log(orders.spec.prefix(sent[0].partition)), failed)
    row, detail = await looked(redis, orders, "quarantine")
    assert detail["event"] == {"id": failed, "failed": True, "gone": True}


async def test_the_next_event_is_shown_if_none_has_failed(
    redis: Redis, orders: Stream[Order]
) -> None:
    app = orders.app
    assert isinstance(app, App)
    async with Worker(app):
        pass
    _, detail = await looked(redis, orders, "park")
    assert (detail["event"], detail["stalled"]) == (None, False)
    sent = await orders.send(Order(id=7), Order(id=7))
    _, detail = await looked(redis, orders, "park")
    assert (detail["event"]["id"], detail["event"]["failed"]) == (sent[0].id, False)
    assert "raw" not in detail["event"]


async def test_a_partition_that_is_not_there_is_refused(
    redis: Redis, orders: Stream[Order]
) -> None:
    app = orders.app
    assert isinstance(app, App)
    async with Worker(app):
        pass
    seen = await inspection.inspect(redis, SERVER, app.name, processor="orders@park")
    with pytest.raises(ConfigError, match=r"PARTITION must be 0 to 15 for .*/park, not 16"):
        await one_partition.look(Scripts(redis), seen, 16, None, 60_000)


async def test_dead_letters_that_the_user_may_not_read_are_unknown(
    redis: Redis, orders: Stream[Order], grant: Grant
) -> None:
    app = orders.app
    assert isinstance(app, App)
    async with Worker(app):
        pass
    url = await grant(("~*", "+@all", "-xrevrange"))
    async with connect(url) as client:
        row, detail = await looked(client, orders, "ignore")
    assert detail["dead_letters"] is None
    assert row["state"] == "unassigned"
