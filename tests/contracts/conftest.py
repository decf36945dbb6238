"""A server on a Unix socket for all contracts, and the wire to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from runnel.connection.connect import connect_sync
from tests.contracts.wire import Wire
from tests.servers import Server


@pytest.fixture(scope="session")
def contracts_url() -> Iterator[str]:
    """A server for these tests alone, or the one that all tests must use."""
    given = os.environ.get("RUNNEL_TEST_REDIS_URL")
    if given:
        yield given
        return
    with Server(appendonly="no") as server:
        yield server.socket_url


@pytest.fixture
def wire(contracts_url: str) -> Iterator[Wire]:
    """Raw calls to a server that is empty when the test begins."""
    with connect_sync(contracts_url) as client:
        wire = Wire(client)
        wire.clear()
        yield wire
        client.flushall()
