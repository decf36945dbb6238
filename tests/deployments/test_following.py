"""Events on every master of a cluster are shown and followed."""

from __future__ import annotations

from contextlib import aclosing

from runnel import App, Record
from runnel.cli.following import follow
from runnel.operations.log_pages import described, merged
from runnel.protocol.scripts import Scripts
from tests.fleet import ClusterFleet


class Item(Record):
    key: str


async def test_all_masters_are_read_and_followed(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    app = App(app_name, redis_url=fleet.url)
    items = app.stream("items", record=Item, partition_by="key", partition_count=6)
    spec = items.spec
    sent = await items.send(*(Item(key=str(number)) for number in range(60)))
    assert {each.partition for each in sent} == set(range(6))
    held = await described(clustered, spec, range(6))
    ends = {number: each.last for number, each in held.items()}
    everything = {number: ("-", end) for number, end in ends.items()}
    for newest_first in (False, True):
        async with aclosing(merged(clustered.deployment, spec, everything, newest_first)) as events:
            found = [(each.partition, each.id) async for each in events]
        assert sorted(found) == sorted((each.partition, each.id) for each in sent)
    async with aclosing(follow(clustered, spec, ends, fleet.url)) as events:
        for _ in range(3):
            sent = await items.send(*(Item(key=str(number)) for number in range(60)))
            new = [await anext(events) for _ in range(60)]
            assert sorted((each.partition, each.id) for each in new) == sorted(
                (each.partition, each.id) for each in sent
            )
    await app.close()
