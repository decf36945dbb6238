"""Servers that belong together, started once for each kind of server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from runnel.connection.connect import connect
from runnel.embedded.binary import Binary, find_binary
from runnel.protocol.scripts import Scripts
from tests.certificates import Certificates
from tests.fleet import ClusterFleet, SentinelFleet
from tests.servers import Server, available_servers, can_fsync, free_port


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """No server is asked for a durability that it does not know."""
    beyond = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        values = callspec.params if callspec else {}
        needs_disk = "binary" in values and values.get("durability") == "fsync"
        if needs_disk and not can_fsync(values["binary"]):
            beyond.append(item)
    if beyond:
        config.hook.pytest_deselected(items=beyond)
        items[:] = [item for item in items if item not in beyond]


def kinds() -> list[Binary]:
    """One server program of each kind, the first Valkey and the first Redis; every one that is
    here if RUNNEL_TEST_EVERY_SERVER is set, and the one that RUNNEL_SERVER_BIN names if it is."""
    if os.environ.get("RUNNEL_SERVER_BIN"):
        return [find_binary()]
    if os.environ.get("RUNNEL_TEST_EVERY_SERVER"):
        return list(available_servers())
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


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of an authority that only the tests trust."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls_binary(certificates: Certificates) -> Binary:
    """A server program that speaks TLS; none of those in packages does."""
    for binary in available_servers():
        server = Server(binary, **certificates.options(free_port(), clients=False))
        try:
            server.start()
        except AssertionError:
            continue  # It ended at once.
        finally:
            server.close()
        return binary
    pytest.skip("no server program here speaks TLS: install redis-server")
