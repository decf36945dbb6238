"""The integration and Lua tests once more, against the servers of the official images."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_docker.plugin import Services
from redis.exceptions import RedisError

from runnel.connection.connect import connect, connect_sync
from runnel.preflight.server import check_server

ROOT = Path(__file__).parents[2]
SERVICES = [("redis", "7"), ("valkey", "9")]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def urls(docker_ip: str, docker_services: Services) -> dict[str, str]:
    """Where each service answers."""
    found = {}
    for service, _ in SERVICES:
        port = docker_services.port_for(service, 6379)
        found[service] = url = f"redis://{docker_ip}:{port}/0"
        docker_services.wait_until_responsive(
            functools.partial(_answers, url), timeout=60, pause=0.1
        )
    return found


def _answers(url: str) -> bool:
    with connect_sync(url) as client, contextlib.suppress(RedisError, OSError):
        return bool(client.ping())
    return False


@pytest.mark.parametrize(("service", "major"), SERVICES)
async def test_the_container_is_the_server_that_its_image_promises(
    service: str, major: str, urls: dict[str, str]
) -> None:
    async with connect(urls[service]) as client:
        info = await check_server(client, urls[service])
    assert info.kind == service
    assert info.version is not None
    assert info.version.split(".")[0] == major


def test_the_integration_and_lua_tests_pass_against_the_containers(
    urls: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pytest", "tests/integration", "tests/lua", "-q"]
    # What needs a cluster starts a server of its own, so the container is not in it. The cache
    # belongs to the run that this test is part of.
    command += ["-m", "not cluster", "-p", "no:cacheprovider"]
    before = {service: _script_calls(url) for service, url in urls.items()}
    with contextlib.ExitStack() as running:  # Side by side: they wait more than they work.
        runs = {}
        for service, url in urls.items():
            said = running.enter_context((tmp_path / service).open("wb"))
            environment = {**os.environ, "RUNNEL_TEST_REDIS_URL": url}
            runs[service] = running.enter_context(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
            )
    for service, run in runs.items():
        assert run.returncode == 0, f"against {service}:\n{(tmp_path / service).read_text()}"
        assert _script_calls(urls[service]) > before[service], f"they ran, but not on {service}"


def _script_calls(url: str) -> int:
    """How many scripts the server has run by their SHA."""
    with connect_sync(url) as client:
        statistics = client.info("commandstats")
    return int(statistics.get("cmdstat_evalsha", {"calls": 0})["calls"])
