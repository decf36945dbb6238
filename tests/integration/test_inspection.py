"""Every field of a report of `inspect`, and when it is null."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.connection.deployment import Command, Deployment
from runnel.errors import Mismatch
from runnel.operations import inspection, table_sizes
from runnel.operations.inspection import Declared, inspect
from runnel.operations.registry_entry import Entry
from runnel.protocol import CheckpointMove
from tests.integration.inspected import COUNT, SERVER, Shop, dead, skip
from tests.primaries import every_key


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def test_a_working_processor_shows_every_field(shop: Shop) -> None:
    await shop.open()
    ids = await shop.send(1, 3)
    await shop.work()
    move = CheckpointMove("0-0", ids[0], 1)
    await shop.scripts.call(protocol.commit(shop.keys(1), shop.tokens[1], move))
    seen = await shop.seen()
    assert seen["schema"] == "runnel.inspect/1"
    assert abs(seen["at_ms"] - await shop.now()) < 5000
    assert seen["server"] == {"kind": "valkey", "version": "9.1.2", "mode": "standalone"}
    (processor,) = seen["processors"]
    rows = processor.pop("partitions")
    behind = processor.pop("lag_ms")
    assert processor == {
        "app": shop.app,
        "name": "printer",
        "stream": "orders",
        "state": "ok",
        "lag_events": 2,
        "dead_letters": None,
        "mixed": False,
        "tables": [],
    }
    assert seen["totals"] == {
        "lag_events": 2,
        "lag_ms": behind,
        "unassigned": 0,
        "quarantined": 0,
        "failing": 0,
        "dead_letters": 0,
        "parked": 0,
        "postponed": 0,
        "members": 1,
    }
    row = rows[1]
    assert 0 < row.pop("session_left_ms") <= 10_000
    assert 0 <= row.pop("lag_ms") == behind
    assert 0 <= row.pop("current_event_ms") <= behind
    assert row == {
        "id": 1,
        "state": "owned",
        "owner": "w1",
        "epoch": shop.tokens[1].epoch,
        "checkpoint": ids[0],
        "last": ids[2],
        "lag_events": 2,
        "processed": 1,
        "lost": 0,
        "lost_acknowledged": 0,
        "dropped": 0,
        "attempts": 0,
        "unclean_tenures": 0,
        "failing": False,
        "in_hand": None,
        "finished_ahead": None,
        "waits_for": None,
        "delayed": 0,
        "delayed_lost": 0,
        "overdue_ms": None,
        "parked": 0,
        "parked_keys": 0,
        "postponed": 0,
        "postponed_in_ms": None,
        "replaying": 0,
        "outbox": 0,
        "outbox_lost": 0,
        "outbox_waits_for": None,
        "error": None,
    }
    assert (rows[0]["checkpoint"], rows[0]["last"]) == ("0-0", "0-0")
    assert (rows[0]["lag_events"], rows[0]["lag_ms"], rows[0]["current_event_ms"]) == (0, 0, 0)
    (member,) = seen["members"]
    assert 0 <= member.pop("last_heartbeat_ms") < 10_000
    assert member == {
        "id": "w1",
        "app": shop.app,
        "processor": "printer",
        "host": "host",
        "pid": 7,
        "lang": "python",
        "version": "1.0",
        "scripts": None,
        "partitions": [0, 1, 2, 3],
        "in_hand": None,
        "finished_ahead": None,
    }
    (stream,) = seen["streams"]
    partitions = stream.pop("partitions")
    oldest = stream.pop("oldest_ms")
    delayed = {"delayed": 0, "delayed_due_ms": None}
    assert stream == {
        "app": shop.app,
        "name": "orders",
        "partition_count": 4,
        "partition_size": None,
        "max_age_ms": None,
        "retain": None,
        "length": 3,
        **delayed,
    }
    delayed["delayed_lost"] = 0
    assert 0 <= partitions[1].pop("oldest_ms") == oldest < 60_000
    assert partitions[1] == {"id": 1, "length": 3, "first": ids[0], "last": ids[2], **delayed}
    empty = {"id": 0, "length": 0, "first": None, "last": "0-0", "oldest_ms": 0}
    assert partitions[0] == {**empty, **delayed}


async def test_without_members_it_is_down_and_partitions_are_unassigned(shop: Shop) -> None:
    await shop.open()
    await shop.send(0, 2)
    seen = await shop.seen()
    (processor,) = seen["processors"]
    assert (processor["state"], processor["lag_events"]) == ("down", 2)
    assert {row["state"] for row in processor["partitions"]} == {"unassigned"}
    assert (seen["totals"]["unassigned"], seen["totals"]["members"], seen["members"]) == (4, 0, [])
    row = processor["partitions"][0]
    assert row["lag_ms"] >= 0
    for name in ("owner", "session_left_ms", "current_event_ms", "epoch"):
        assert row[name] is None


async def test_what_is_unknown_is_null_and_makes_its_total_null(shop: Shop) -> None:
    await shop.open()
    await shop.send(0, 2)
    await shop.redis.xgroup_destroy(shop.keys(0).log, "printer")
    seen = await shop.seen()
    (processor,) = seen["processors"]
    rows = processor["partitions"]
    assert [row["lag_events"] for row in rows] == [None, 0, 0, 0]
    assert rows[0]["lag_ms"] is not None
    assert (processor["lag_events"], seen["totals"]["lag_events"]) == (None, None)
    await shop.redis.delete(shop.keys(0).state)
    seen = await shop.seen()
    row = seen["processors"][0]["partitions"][0]
    assert (row["checkpoint"], row["lag_ms"], seen["totals"]["lag_ms"]) == (None, None, None)


def described(value: Any, path: str = "") -> dict[str, set[str]]:
    """The path of each value in a JSON document, with the JSON types found there."""
    names = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean"}
    found = {path: {names.get(type(value), "null")}}
    inside: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inside = [(f"{path}.{name}".lstrip("."), each) for name, each in value.items()]
    elif isinstance(value, list):
        inside = [(f"{path}[]", each) for each in value]
    for name, each in inside:
        for below, types in described(each, name).items():
            found.setdefault(below, set()).update(types)
    return found


async def test_the_documentation_lists_every_key_of_the_report(shop: Shop) -> None:
    await shop.open()
    await dead(shop, "reader")
    ids = await shop.send(1, 2)
    await shop.work()
    await skip(shop, 1, "0-0", ids[0])
    await shop.redis.hset(keys.meta(shop.keys(1).prefix), "table:totals", "printer")
    error = ("ValueError", "no price")
    attempt = protocol.attempt(shop.keys(1), shop.tokens[1], "quarantine", ids[0], 3, error)
    await shop.scripts.call(attempt)
    (event,) = await shop.send(2)
    wait = protocol.attempt(shop.keys(2), shop.tokens[2], "wait", "0-0", 0, ("alerts", "of mail"))
    await shop.scripts.call(wait)
    assert event
    await shop.set(3, outbox_waits_for="alerts", outbox_reason="of mail", outbox_since=1000)
    entry = f"{COUNT} orders 100 60000 until_full"
    await shop.redis.hset(keys.streams(shop.app), "orders", entry)
    page = (Path(__file__).parent.parent.parent / "docs/operations.md").read_text()
    # Metrics, which have tables of their own, begin with `runnel_`.
    rows = re.findall(r"^\| `(?!runnel_)([a-z_.[\]]+)` \| ([a-z ]+) \|", page, re.M)
    listed = {key: set(types.split(" or ")) for key, types in rows}
    found = described(json.loads(json.dumps(await shop.seen())))
    plain = {
        "",
        *(key for key, types in found.items() if key.endswith("[]") and types == {"object"}),
    }
    found = {key: types for key, types in found.items() if key not in plain}
    assert len(rows) == len(listed)
    assert sorted(listed) == sorted(found)
    assert {key: types for key, types in found.items() if not types <= listed[key]} == {}


async def test_the_tables_of_a_processor_are_shown_with_their_keys_and_bytes(shop: Shop) -> None:
    await shop.open()
    memory = 0
    for p, number in ((0, 3), (2, 4000)):
        prefix = shop.keys(p).prefix
        await shop.redis.hset(keys.meta(prefix), mapping={"table:totals": "printer"})
        table = keys.table(prefix, "totals")
        await shop.redis.hset(table, mapping={str(n): "x" * 40 for n in range(number)})
        memory += await shop.redis.memory_usage(table, 5) or 0
    await shop.redis.hset(keys.meta(shop.keys(1).prefix), "table:limits", "mailer")
    (processor,) = (await shop.seen())["processors"]
    (found,) = processor["tables"]
    assert (found["name"], found["keys"]) == ("totals", 4003)
    assert abs(found["bytes"] - memory) < memory / 10, "it is an estimate"
    await shop.redis.set(keys.table(shop.keys(0).prefix, "totals"), "not ours")
    (processor,) = (await shop.seen())["processors"]
    assert processor["tables"][0]["keys"] is None


async def test_the_sizes_of_tables_cost_two_commands_for_each_partition(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.open()
    for p in range(COUNT):
        meta = keys.meta(shop.keys(p).prefix)
        await shop.redis.hset(meta, mapping={"table:totals": "printer", "table:limits": "printer"})
    asked: list[int] = []
    kind = type(shop.scripts.deployment)
    send = kind.send

    async def noting(deployment: Deployment, commands: Sequence[Command], *more: Any) -> list[Any]:
        asked.append(sum(command[0] in ("HLEN", "MEMORY") for _, command in commands))
        return await send(deployment, commands, *more)

    monkeypatch.setattr(table_sizes, "PAGE", 3)
    monkeypatch.setattr(kind, "send", noting)
    (processor,) = (await shop.seen())["processors"]
    assert [each["name"] for each in processor["tables"]] == ["limits", "totals"]
    assert (sum(asked), max(asked)) == (2 * 2 * COUNT, 3)


async def test_what_the_code_declares_is_shown_before_a_worker_has_started(shop: Shop) -> None:
    declared = Declared({"orders": Entry(2, "orders")}, [("orders", "printer")])
    seen = await shop.seen(declared=declared)
    (processor,) = seen["processors"]
    assert (processor["state"], processor["lag_events"]) == ("down", None)
    assert [row["checkpoint"] for row in processor["partitions"]] == [None, None]
    assert seen["streams"][0]["partition_count"] == 2
    assert await every_key(shop.redis) == []


async def test_another_programs_key_hides_one_partition_only(shop: Shop) -> None:
    await shop.open()
    state = shop.keys(1).state
    await shop.redis.delete(state)
    await shop.redis.set(state, "not ours")
    (processor,) = (await shop.seen())["processors"]
    row = processor["partitions"][1]
    assert (row["checkpoint"], row["lag_events"]) == (None, None)
    assert row["error"]["type"] == "WRONGTYPE"
    assert processor["partitions"][0]["lag_events"] == 0


@pytest.mark.fault(50)
async def test_keys_of_a_newer_protocol_are_not_read(shop: Shop) -> None:
    await shop.open()
    await shop.redis.hset(keys.meta(shop.keys(3).prefix), "protocol", "2")
    with pytest.raises(Mismatch) as caught:
        await shop.seen()
    assert caught.value.details == {"field": "protocol", "stored": "2", "given": "1"}


async def test_several_apps_are_distinguished(redis: Redis) -> None:
    one, two = Shop(redis, "one"), Shop(redis, "two")
    await one.open()
    await two.open()
    await two.send(0)
    await one.work("w1")
    await two.work("w1")
    seen = await inspect(redis, SERVER)
    assert [each["app"] for each in seen["processors"]] == ["one", "two"]
    assert (seen["totals"]["members"], seen["totals"]["lag_events"]) == (2, 1)
    assert [each["app"] for each in (await one.seen())["streams"]] == ["one"]


@pytest.mark.parametrize("page", [1, 3, 4])
async def test_all_partitions_are_shown_however_many_one_call_describes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(inspection, "PAGE", page)
    await shop.open()
    ids = [(await shop.send(p))[0] for p in range(COUNT)]
    await shop.work()
    (processor,) = (await shop.seen())["processors"]
    found = [(row["id"], row["owner"], row["last"]) for row in processor["partitions"]]
    assert found == [(p, "w1", ids[p]) for p in range(COUNT)]


async def test_a_report_costs_a_script_call_for_each_partition_and_one_for_the_group(
    shop: Shop,
) -> None:
    await shop.open()
    await shop.work()
    await dead(shop, "reader")
    await shop.seen()

    async def calls() -> int:
        found: Any = await shop.redis.info("commandstats")
        return int(found["cmdstat_evalsha"]["calls"])

    before = await calls()
    await shop.seen()
    # Two processors; the partitions of their streams are described with those of the processors.
    assert await calls() - before == 2 * (COUNT + 1)
    before = await calls()
    await shop.seen(processor="reader")
    # The stream that it reads; it has no dead letters of its own.
    assert await calls() - before == COUNT + 1
