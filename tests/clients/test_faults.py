"""Clients in other languages under faults: ``runnel conformance run``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.programs import ROOT, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


def keeps_the_rules(worker: str, producer: str, folder: Path, without: str = "") -> None:
    """Run all trials on these commands. `without` is what the client does not have."""
    command = [sys.executable, "-m", "runnel", "conformance", "run", "--jobs", "6", "--seed", "1"]
    commands = ("--worker", worker, "--producer", producer, "--without", without)
    said = run(*command, *commands, cwd=folder, PYTHONPATH=str(ROOT))
    assert "every trial passed" in said


@pytest.mark.fault(1, 4, 7, 11, 18, 22, 27, 28)
def test_the_typescript_client_keeps_the_rules(client: Path) -> None:
    """In `mixed`, workers in Python are judged, too."""
    run("npx", "tsc", "-p", "tsconfig.json", cwd=client)
    keeps_the_rules(
        "node conformance/worker.mjs",
        "node conformance/producer.mjs",
        client,
        "postponed,permissions",
    )


@pytest.mark.skipif(not shutil.which("go"), reason="there is no Go toolchain here")
def test_the_go_client_keeps_the_rules(tmp_path: Path) -> None:
    run("go", "build", "-o", f"{tmp_path}/", "./conformance/...", cwd=ROOT / "clients/go")
    keeps_the_rules("./worker", "./producer", tmp_path, "parked,postponed,outbox,permissions")
