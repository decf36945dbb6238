"""Where keys live behind sentinels, and that each node gets the scripts that it lacks."""

from __future__ import annotations

import pytest

from runnel import protocol
from runnel.connection.connect import connect
from runnel.connection.deployment import of
from runnel.protocol.scripts import Scripts
from tests.deployments.steps import (
    append,
    spread,
)
from tests.fleet import ClusterFleet, SentinelFleet
from tests.nodes import ask


@pytest.mark.fault(27)
async def test_a_script_that_one_master_lacks_is_loaded_there(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    await clustered.load()
    ask(fleet.masters[1], "SCRIPT FLUSH")
    ask(fleet.masters[1], "CONFIG RESETSTAT")
    partitions = spread(app_name)
    replies = await clustered.call_all([append(each, 1) for each in partitions])
    assert all(protocol.read_append(each).applied for each in replies)
    stats = ask(fleet.masters[1], "INFO", "commandstats")
    assert "cmdstat_script|load:calls=1," in stats
    assert "cmdstat_evalsha:calls=2," in stats


async def test_behind_sentinels_every_key_is_on_the_one_primary(sentinels: SentinelFleet) -> None:
    async with connect(sentinels.url) as client:
        deployment = of(client)
        assert deployment.node_of("a") == deployment.node_of("b")
        assert deployment.client_for("a") is client
        assert await deployment.primaries() == [client]
