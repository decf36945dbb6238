"""The integration and Lua tests once more, against the servers of the official images."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_docker.plugin import Services
from redis.exceptions import RedisError

from runnel.connection import check_server, connect, connect_sync

ROOT = Path(__file__).parents[2]
SERVICES = [("redis", "7"), ("valkey", "9")]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture
def url(request: pytest.FixtureRequest, docker_ip: str, docker_services: Services) -> str:
    """Where the service that the test is about answers."""
    port = docker_services.port_for(request.getfixturevalue("service"), 6379)
    url = f"redis://{docker_ip}:{port}/0"
    docker_services.wait_until_responsive(lambda: _answers(url), timeout=60, pause=0.1)
    return url


def _answers(url: str) -> bool:
    with connect_sync(url) as client, contextlib.suppress(RedisError, OSError):
        return bool(client.ping())
    return False


@pytest.mark.parametrize(("service", "major"), SERVICES)
async def test_the_container_is_the_server_that_its_image_promises(
    service: str, major: str, url: str
) -> None:
    async with connect(url) as client:
        info = await check_server(client, url)
    assert info.kind == service
    assert info.version is not None
    assert info.version.split(".")[0] == major


@pytest.mark.parametrize("service", [service for service, _ in SERVICES])
def test_the_integration_and_lua_tests_pass_against_the_container(service: str, url: str) -> None:
    command = [sys.executable, "-m", "pytest", "tests/integration", "tests/lua", "-q"]
    # What needs a cluster starts a server of its own, so the container is not in it. The cache
    # belongs to the run that this test is part of.
    command += ["-m", "not cluster", "-p", "no:cacheprovider"]
    before = _script_calls(url)
    # Its output goes to this test's own, which pytest shows if the test fails.
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "RUNNEL_TEST_REDIS_URL": url}, check=False
    )
    assert run.returncode == 0, f"the tests failed against {service} (output below)"
    assert _script_calls(url) > before, f"the tests ran, but not against {service} at {url}"


def _script_calls(url: str) -> int:
    """How many scripts the server has run by their SHA."""
    with connect_sync(url) as client:
        statistics = client.info("commandstats")
    return int(statistics.get("cmdstat_evalsha", {"calls": 0})["calls"])
