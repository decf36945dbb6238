"""Servers that belong together, started once for each kind of server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from runnel.connection import connect
from runnel.scripts import Scripts
from runnel.server_program import Binary
from tests.fleet import ClusterFleet, SentinelFleet
from tests.servers import available_servers


def kinds() -> list[Binary]:
    """One server program of each kind: the first Valkey and the first Redis."""
    found: dict[str, Binary] = {}
    for binary in available_servers():
        found.setdefault(binary.kind, binary)
    return list(found.values())


@pytest.fixture(scope="session", params=kinds(), ids=str)
def binary(request: pytest.FixtureRequest) -> Binary:
    """A server program."""
    assert isinstance(request.param, Binary)
    return request.param


@pytest.fixture(scope="session")
def fleet(binary: Binary) -> Iterator[ClusterFleet]:
    """A cluster of three masters, each with a replica. Tests leave it whole."""
    with ClusterFleet(binary) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def sentinels(binary: Binary) -> Iterator[SentinelFleet]:
    """A primary with two replicas under three sentinels. Tests leave it whole."""
    with SentinelFleet(binary) as fleet:
        yield fleet


@pytest.fixture
async def clustered(fleet: ClusterFleet) -> AsyncIterator[Scripts]:
    """Scripts on the cluster, by a client that has yet to find out where everything is."""
    async with connect(fleet.url) as client:
        yield Scripts(client)
