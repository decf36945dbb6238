"""Inspection and administration reach the partitions on every master of a cluster."""

from __future__ import annotations

from runnel import App, Events, Record, keys
from runnel.operations import admin, inspection, stream_admin
from runnel.operations.registry import announce_processor
from runnel.operations.removing import remove
from runnel.operations.stream_admin import Trim
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from tests.fleet import ClusterFleet


class Item(Record):
    key: str


def declare(name: str, url: str) -> App:
    app = App(name, redis_url=url)
    items = app.stream("items", record=Item, partition_by="key", partition_count=6)

    @app.processor(items)
    async def worker(events: Events[Item]) -> None:
        async for _ in events:
            pass

    return app


async def test_records_are_sent_inspected_and_administered_on_all_masters(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    app = declare(app_name, fleet.url)
    stream, processor = app.streams["items"], app.processors["worker"]
    await announce_processor(clustered, processor)
    await admin.add(clustered, processor)
    sent = await stream.send(*(Item(key=str(number)) for number in range(60)))
    await app.close()
    assert {each.partition for each in sent} == set(range(6))
    masters = {clustered.deployment.node_of(stream.spec.prefix(p)) for p in range(6)}
    assert len(masters) == 3

    async def figures() -> dict[str, int]:
        server = await check_server(clustered.client, fleet.url)
        seen = await inspection.inspect(clustered.client, server, app_name)
        assert seen["server"]["mode"] == "cluster"
        (one,), (only,) = seen["processors"], seen["streams"]
        states = [row["state"] for row in one["partitions"]]
        return {
            "lag": one["lag_events"],
            "length": only["length"],
            "paused": states.count("paused"),
        }

    assert await figures() == {"lag": 60, "length": 60, "paused": 0}
    assert await admin.pause(clustered, processor) == 6
    assert (await figures())["paused"] == 6
    assert await admin.resume(clustered, processor, list(range(6))) == 6
    last = sent[-1]
    await admin.reset(clustered, processor, "$")
    assert await figures() == {"lag": 0, "length": 60, "paused": 0}
    checkpoints = await admin.reset(clustered, processor, last.id)
    assert len(checkpoints) == 6
    await remove(clustered, processor)
    assert await admin.delete_stream(clustered, stream.spec) == 60
    assert await clustered.client.hgetall(keys.streams(app_name)) == {}


async def test_a_stream_is_created_shown_and_trimmed_on_all_masters(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    app = declare(app_name, fleet.url)
    spec, processor = app.streams["items"].spec, app.processors["worker"]
    assert await stream_admin.create(clustered, spec)
    await admin.add(clustered, processor)
    await app.streams["items"].send(*(Item(key=str(number)) for number in range(60)))
    await app.close()
    seen = await stream_admin.show(clustered, spec)
    assert (seen["length"], seen["readers"][0]["lag_events"]) == (60, 60)
    assert seen["bytes"] > 0
    kept = await stream_admin.trim(clustered, spec, Trim(size=1), range(6))
    assert (sum(kept.removed.values()), set(kept.kept_for.values())) == (0, {"worker"})
    await admin.reset(clustered, processor, "$")
    dry = await stream_admin.would_trim(clustered, spec, Trim(size=1), range(6))
    assert await stream_admin.trim(clustered, spec, Trim(size=1), range(6)) == dry
    assert sum(dry.removed.values()) == 54
