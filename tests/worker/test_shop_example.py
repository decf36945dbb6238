"""The example of a shop passes its own tests, with what `runnel.testing` gives to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from tests.worker.workers import ROOT

#: Of an installed Runnel, pytest finds the plugin by itself.
PLUGIN = "runnel.pytest_plugin"
INSTALLED = any(each.value == PLUGIN for each in entry_points(group="pytest11"))


def run_pytest(folder: Path, *arguments: str) -> str:
    """Run the tests of a folder, and return what pytest says. They must pass."""
    plugin = () if INSTALLED else ("-p", PLUGIN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_tests_pass_without_and_with_a_server() -> None:
    assert "9 passed" in run_pytest(ROOT / "examples/shop")
