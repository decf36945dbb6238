"""The TypeScript client, compiled once, and processes that end with their test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.programs import CLIENT, ROOT, run


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the client in a copy of the checkout, with its packages, compiled."""
    if not shutil.which("npm"):
        pytest.skip("there is no npm here")
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("node_modules", "build", "dist", "*.tgz")
    shutil.copytree(CLIENT, root / "clients/typescript", ignore=ignored)
    shutil.copytree(ROOT / "lua", root / "lua")
    folder = root / "clients/typescript"
    run("npm", "ci", "--silent", cwd=folder)
    run("npx", "tsc", "-p", "tsconfig.test.json", cwd=folder)
    return folder


@pytest.fixture
def children() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes, which are killed at the end."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    yield started
    for each in started.values():
        each.kill()
        each.wait()
