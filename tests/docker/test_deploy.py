"""The image and the services in `examples/deploy`: built, started, used and stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.images import IMAGES, Missing, docker, ensure
from tests.docker.python_image import VERSION, ensure_python

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/deploy"
ORDER = {"article": "bolt", "pieces": 3}
_PATIENCE = 120.0

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def must(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, docker_compose_command: str) -> Path:
    """What a user has: the files of `examples/deploy`, the code of a shop, and this Runnel."""
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copy(FOLDER / "Dockerfile", folder)
    shutil.copy(ROOT / "examples/shop/shop.py", folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    must(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    requirements = (FOLDER / "requirements.txt").read_text().strip()
    (folder / "requirements.txt").write_text(requirements.replace("runnel", f"./{wheel.name}"))
    wheels = tmp_path_factory.mktemp("wheels")
    constraints = ROOT / "constraints.txt"
    must(
        *pip,
        "download",
        "-q",
        "-d",
        wheels,
        "-c",
        constraints,
        "-r",
        "requirements.txt",
        cwd=folder,
    )
    text = (FOLDER / "compose.yml").read_text()
    build = "build: {context: ., args: {PYTHON: '" + VERSION + "'}}"
    (folder / "compose.yml").write_text(text.replace("build: .", build))
    try:
        ensure_python(wheels)
        for image in IMAGES:
            ensure(image)
    except Missing as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture
def services(
    context: Path, docker_compose_command: str, docker_compose_project_name: str
) -> Iterator[list[str]]:
    """The services of the compose file, which run; the command for them."""
    project = f"{docker_compose_project_name}deploy"
    compose = [*docker_compose_command.split(), "-f", str(context / "compose.yml"), "-p", project]
    try:
        must(*compose, "up", "-d", "--build")
        yield compose
    finally:
        must(*compose, "down", "-v", "-t", "0", "--rmi", "local")


def test_a_worker_of_the_image_works_answers_probes_and_ends_when_it_is_told_to(
    services: list[str],
) -> None:
    worker = must(*services, "ps", "-q", "worker").strip()
    described = json.loads(must("docker", "inspect", worker))[0]
    assert described["Config"]["User"] == "10001:10001"
    [network] = described["NetworkSettings"]["Networks"].values()
    for path, wanted in (("healthz", "alive"), ("readyz", "ready")):
        assert answer(f"http://{network['IPAddress']}:9110/{path}")[wanted] is True
    run = ["docker", "exec", worker, "runnel"]
    must(*run, "send", "shop:orders", json.dumps(ORDER))
    until_processed(run)
    assert must(*run, "table", "get", "shop:stock", "bolt").strip() == "97"
    must("docker", "stop", "-t", "40", worker)
    [state] = json.loads(must("docker", "inspect", worker))
    assert state["State"]["ExitCode"] == 0
    log = docker("logs", worker, timeout=60)
    lines = [json.loads(line) for line in f"{log.stdout}{log.stderr}".splitlines()]
    assert not [line for line in lines if line["level"] in ("warning", "error")]


def answer(url: str) -> dict[str, object]:
    """The JSON at a URL, as soon as it is there."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                found: dict[str, object] = json.load(reply)
                return found
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer with 200"
            time.sleep(0.1)


def until_processed(run: list[str]) -> None:
    """Wait until every event is committed."""
    deadline = time.monotonic() + _PATIENCE
    while json.loads(must(*run, "inspect", "shop:app", "--json"))["totals"]["lag_events"] != 0:
        assert time.monotonic() < deadline, "the worker does not process the event"
        time.sleep(0.1)
