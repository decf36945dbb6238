"""Fixtures for all tests: an empty server for each test, and a check that nothing keeps running.

``RUNNEL_TEST_REDIS_URL`` names a server to use instead of the embedded one, or sentinels, or a
cluster. ALL THEIR DATA IS ERASED before each test that uses them. ``--deployment`` starts sentinels
or a cluster for that.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from tests.fleet import ClusterFleet, SentinelFleet
from tests.primaries import on_each
from tests.processes import kill, runnel_children
from tests.servers import Server, start_cluster

pytest_plugins = ["tests.ci", "tests.side_by_side", "tests.deployments.losses"]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background sets this, and child processes inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of the server, the sentinels or the cluster that the tests share."""
    configured_url = os.environ.get("RUNNEL_TEST_REDIS_URL")
    if configured_url:
        yield configured_url
        return
    kind = pytestconfig.getoption("--deployment")
    with Server(appendonly="no") if kind == "server" else _fleet(kind) as shared:
        yield shared.url


def _fleet(kind: str) -> ClusterFleet | SentinelFleet:
    return ClusterFleet(replicas=False) if kind == "cluster" else SentinelFleet(replicas=1)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the shared deployment, which is empty when the test starts."""
    async with connect(redis_url) as client:
        await on_each(client, "FLUSHALL")
        yield client


@pytest.fixture
def server() -> Iterator[Server]:
    """A server for this test only, which it may stop, kill and start."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """A Redis Cluster of one node: it refuses scripts that mix slots."""
    with start_cluster() as server:
        yield server.url


@pytest.fixture
async def cluster(cluster_url: str) -> AsyncIterator[Redis]:
    """A plain client of the one cluster node, which is empty when the test starts."""
    async with connect(cluster_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def app_name() -> str:
    """The name of an app that no other test uses."""
    return f"app{next(_numbers)}"


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves asyncio tasks or processes of Runnel running."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_no_task_left_behind")
    before = runnel_children()
    yield
    left = {pid: command for pid, command in runnel_children().items() if pid not in before}
    for pid in left:
        kill(pid)
    if left:
        pytest.fail(f"the test left processes running: {', '.join(left.values())}")


@pytest.fixture
async def _no_task_left_behind() -> AsyncIterator[None]:
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=5)
        pytest.fail(f"the test left tasks running: {', '.join(map(repr, left))}")
