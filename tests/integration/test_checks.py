"""The checks that a worker, a sender or an operator makes before it writes anything."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from runnel import App, Events, Record, keys, protocol
from runnel.codec.partitioning import XXH64
from runnel.connection.connect import connect
from runnel.errors import Mismatch, ServerError, Unregistered
from runnel.operations import admin
from runnel.operations.registry import announce_processor
from runnel.operations.removing import remove
from runnel.operations.skipping import skip
from runnel.operations.table_admin import clear, export, living_members, parts_of
from runnel.preflight.acl import check
from runnel.preflight.checks import (
    check_deletion,
    check_operator,
    check_registration,
    check_table,
    required_by_deletion,
    required_by_operator,
    required_by_registration,
    required_by_table,
    required_by_worker,
)
from runnel.protocol import text
from runnel.protocol.scripts import Scripts
from runnel.table import Table
from runnel.table_reader import read_committed
from runnel.worker.worker import Worker
from tests.integration.clerk import (
    PICKY,
    SENDER,
    WORKER,
    Grant,
    Numbered,
    app,
    items,
    minimal_rules,
    seen,
)
from tests.lua.conftest import Raw
from tests.primaries import every_key
from tests.servers import Server

#: On a cluster, users exist per node; tests/deployments covers that.
on_one_primary = pytest.mark.only_on("server", "sentinel")


class Item(Record):
    key: str


class Other(XXH64):
    name = "other"


def declare(name: str, url: str, **options: Any) -> App:
    """An app with one stream and one processor."""
    app = App(name, redis_url=url, rebalance_delay=0.0)
    options = {"partition_count": 2, **options}
    stream = app.stream("items", record=Item, partition_by="key", **options)

    @app.processor(stream)
    async def reader(events: Events[Item]) -> None:
        async for _ in events.records():
            pass

    return app


async def run_until_done(app: App) -> None:
    """Run a worker until everything is processed."""
    await Worker(app).run(burst=True)


@pytest.mark.parametrize(
    ("options", "stored", "field", "values"),
    [
        ({"partition_count": 4}, {}, "partitions", ("2", "4")),
        ({"partition_count": 1}, {}, "partitions", ("2", "1")),
        ({"hasher": Other()}, {}, "hash", ("xxh64", "other")),
        ({}, {"protocol": "2"}, "protocol", ("2", "1")),
    ],
)
async def test_a_worker_whose_stream_contract_differs_writes_nothing(
    redis: Redis,
    redis_url: str,
    app_name: str,
    options: dict[str, Any],
    stored: dict[str, str],
    field: str,
    values: tuple[str, str],
) -> None:
    await run_until_done(declare(app_name, redis_url))
    for name, value in stored.items():
        meta = keys.meta(keys.partition(app_name, "items", 0, "items"))
        await redis.hset(meta, name, value)
    before = await Raw(redis).dump()
    with pytest.raises(Mismatch) as caught:
        await run_until_done(declare(app_name, redis_url, **options))
    details = caught.value.details
    assert (details["stream"], details["field"]) == ("items", field)
    assert (details["stored"], details["given"]) == values
    assert await Raw(redis).dump() == before


async def test_a_key_of_another_program_is_named(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    prefix = keys.partition(app_name, "items", 0, "items")
    await redis.set(keys.meta(prefix), "not ours")
    with pytest.raises(ServerError, match="holds something else") as caught:
        await run_until_done(declare(app_name, redis_url))
    assert prefix in str(caught.value)
    assert await every_key(redis) == [keys.meta(prefix).encode()]


async def test_streams_of_the_first_runnel_are_reported_and_not_changed(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = [f"__strm:{app_name}.items.{number}" for number in (0, 7, 15)]
    for name in old:
        await redis.xadd(name, {"data": "{}"})
    await redis.xadd(f"__strm:{app_name}.other.0", {"data": "{}"})
    before = {name: await redis.dump(name) for name in old}
    with caplog.at_level(logging.WARNING, "runnel.worker"):
        await run_until_done(declare(app_name, redis_url))
    (message,) = [each.getMessage() for each in caplog.records if "2020" in each.getMessage()]
    assert f"3 streams of the first Runnel (2020) for stream items, such as {old[0]}" in message
    assert f"'__*:{app_name}.items.*'" in message
    assert {name: await redis.dump(name) for name in old} == before


async def test_without_streams_of_the_first_runnel_there_is_no_warning(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.xadd(f"__strm:{app_name}2.items.0", {"data": "{}"})
    await run_until_done(declare(app_name, redis_url))
    assert "2020" not in caplog.text


@pytest.mark.fault(28)
async def test_a_worker_starts_on_a_full_server_and_works_it_off(
    server: Server, app_name: str
) -> None:
    app = declare(app_name, server.url)
    stream = app.streams["items"]
    await stream.send(*(Item(key=str(number)) for number in range(10)))
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await stream.send(Item(key="one more"))
        await run_until_done(app)
        all_keys = [app.processors["reader"].keys(p) for p in (0, 1)]
        done = [
            client.hget(partition_keys.of_script()[2], "processed") for partition_keys in all_keys
        ]
    assert sum(int(each or 0) for each in done) == 10


async def test_an_operator_is_told_that_a_processor_is_not_registered_unless_it_is_removed(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    processor = declare(app_name, redis_url).processors["reader"]
    scripts = Scripts(redis)
    for action in ("reset", "pause", "resume", "skip"):
        with pytest.raises(Unregistered, match="reader is not registered on stream items"):
            await check_operator(scripts, processor, action, redis_url)
    await check_operator(scripts, processor, "remove", redis_url)
    await admin.add(scripts, processor)
    await check_operator(scripts, processor, "pause", redis_url)


async def test_a_stream_with_another_contract_is_neither_registered_on_nor_changed(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    scripts = Scripts(redis)
    await admin.add(scripts, declare(app_name, redis_url).processors["reader"])
    other = declare(app_name, redis_url, partition_count=3).processors["reader"]
    for checked in (
        check_registration(scripts, other, redis_url),
        check_operator(scripts, other, "pause", redis_url),
        check_deletion(scripts, other.stream, redis_url),
    ):
        with pytest.raises(Mismatch, match="field=partitions stored=2 given=3"):
            await checked


@on_one_primary
async def test_the_required_rules_are_enough_to_send_and_to_work(
    redis: Redis, grant: Grant
) -> None:
    app.configure(redis_url=await grant([*WORKER, *SENDER]))
    seen.clear()
    try:
        await items.send(*(Numbered(key="k", number=number) for number in (1, 2, 3)))
        await Worker(app).run(burst=True)
    finally:
        await app.close()
    assert seen == [1, 3]
    assert PICKY.sink is not None
    dead = [await redis.xlen(f"{PICKY.sink.prefix(p)}:log") for p in (0, 1)]
    assert sum(dead) == 1


@on_one_primary
async def test_the_required_rules_are_enough_to_register(redis: Redis, grant: Grant) -> None:
    registration = required_by_registration(PICKY)
    async with connect(await grant(minimal_rules(registration))) as client:
        scripts = Scripts(client)
        await check(scripts, registration, "redis://clerk:secret@h")
        await admin.add(scripts, PICKY)
        await announce_processor(scripts, PICKY)


@on_one_primary
@pytest.mark.parametrize("action", ["reset", "pause", "resume", "skip", "remove"])
async def test_the_required_rules_are_enough_for_an_operator(
    redis: Redis, grant: Grant, action: str
) -> None:
    scripts = Scripts(redis)
    await admin.add(scripts, PICKY)
    if action == "skip":
        app.configure(redis_url=await grant([*WORKER, *SENDER]))
        try:
            (sent,) = await items.send(Numbered(key="k", number=2))
        finally:
            await app.close()
        partition_keys = PICKY.keys(sent.partition)
        await scripts.call(protocol.claim(partition_keys, PICKY.stream.contract, "m", 1, "n" * 16))
        for field, value in (("quarantined", "1"), ("error_event", sent.id)):
            await redis.hset(partition_keys.of_script()[2], field, value)
    url = await grant(minimal_rules(required_by_operator(PICKY, action)))
    async with connect(url) as client:
        clerk = Scripts(client)
        await check_operator(clerk, PICKY, action, url)
        if action == "reset":
            assert await admin.reset(clerk, PICKY, "9999999999999-0") == ["0-0", "0-0"]
        elif action == "pause":
            assert await admin.pause(clerk, PICKY) == 2
        elif action == "resume":
            assert await admin.resume(clerk, PICKY, [0, 1]) == 0
        elif action == "skip":
            assert (await skip(clerk, PICKY, sent.partition)).event == sent.id
            await admin.resume(clerk, PICKY, [sent.partition])
        else:
            assert await remove(clerk, PICKY) == (2, 0)


@on_one_primary
async def test_the_required_rules_are_enough_to_delete_a_stream(redis: Redis, grant: Grant) -> None:
    await admin.add(Scripts(redis), PICKY)
    url = await grant(minimal_rules(required_by_deletion(items.spec)))
    async with connect(url) as client:
        await check_deletion(Scripts(client), items.spec, url)
        assert await admin.delete_stream(Scripts(client), items.spec) == 0
    metas = [keys.meta(items.spec.prefix(p)) for p in range(items.spec.partition_count)]
    assert sorted(map(text, await redis.keys())) == metas
    for meta in metas:
        assert 0 < await redis.ttl(meta) <= 86_400, "the tombstone for running clients expires"


#: Not declared in the app, whose worker has no tables.
LAST: Table[int] = Table(app, "last", items.spec, int)


@on_one_primary
@pytest.mark.parametrize("action", ["list", "get", "export", "clear"])
async def test_the_required_rules_are_enough_for_a_table(
    redis: Redis, grant: Grant, action: str
) -> None:
    await redis.hset(keys.table(items.spec.prefix(1), "last"), "k", "1")
    rules = minimal_rules(required_by_table(LAST, action))
    await redis.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]
    url = await grant(rules)
    async with connect(url) as client:
        clerk = Scripts(client)
        await check_table(clerk, LAST, action, url)
        if action == "get":
            await read_committed(clerk.deployment, items.spec, "last", [b"k"])
        elif action == "export":
            pages = [page async for page in export(clerk, LAST)]
            assert pages == [(0, []), (1, [(b"k", b"1")])]
        else:
            parts = await parts_of(clerk, LAST)
            assert parts == [(None, 0, None), (None, 1, None)]
            if action == "clear":
                assert await living_members(clerk, LAST, ["p"]) == 0
                assert await clear(clerk, LAST, parts) == 1
    assert await redis.execute_command("ACL", "LOG") == []  # type: ignore[no-untyped-call]
    for rule in rules:
        url = await grant([each for each in rules if each != rule])
        async with connect(url) as client:
            with pytest.raises(ServerError):
                await check_table(Scripts(client), LAST, action, url)


@on_one_primary
async def test_a_worker_needs_the_permissions_of_the_tables_that_it_writes(
    redis: Redis, grant: Grant
) -> None:
    plain = required_by_worker(app, [PICKY])
    writing = required_by_worker(app, [replace(PICKY, tables=("last",))])
    table = keys.table(items.spec.prefix(0), "last")
    more = {use for use in writing.uses() if use not in set(plain.uses())}
    assert {("HSET", table), ("HDEL", table), ("HLEN", table), ("HMGET", table)} <= more
