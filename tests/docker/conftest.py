"""The Compose services as fixtures (see pytest-docker); the tests are skipped without an engine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_docker.plugin import DockerComposeExecutor

from tests.docker.images import IMAGES, Missing, ensure


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    """``docker compose`` or, where that plugin is absent, ``docker-compose``."""
    if not shutil.which("docker") or not _works("docker", "info"):
        pytest.skip("no Docker engine answers: install one and start dockerd")
    if _works("docker", "compose", "version"):
        return "docker compose"
    if shutil.which("docker-compose"):
        return "docker-compose"
    pytest.skip("no Docker engine is complete without Compose: install docker-compose")


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """The services that the tests run against."""
    return str(Path(__file__).with_name("docker-compose.yml"))


@pytest.fixture(scope="session")
def docker_setup(
    docker_compose_command: str, docker_compose_file: str, docker_compose_project_name: str
) -> Iterator[list[str]]:
    """Start the services in the background: Compose 1 does not know ``--wait``."""
    for image in IMAGES:
        try:
            ensure(image)
        except Missing as error:
            pytest.skip(str(error))
    yield ["up -d"]
    compose = DockerComposeExecutor(
        docker_compose_command, docker_compose_file, docker_compose_project_name
    )
    compose.execute("down -v")


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    """Nothing: `docker_setup` ends the services, those of a failed start as well."""
    return []


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
