"""On CI a skip is a failure unless its reason is one that CI may have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(folder: Path, code: str, *options: str, ci: str) -> str:
    """The closing line of pytest over one module with our plugin."""
    (folder / "test_inner.py").write_text(f"import pytest\n{code}")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = docker\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.ci", *options, folder],
        env={
            **os.environ,
            "CI": ci,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "ci", "closing"),
    [
        ("def test_a(): pytest.skip('why not')", "true", "1 failed"),
        ("def test_a(): pytest.skip('why not')", "", "1 skipped"),
        ("pytest.skip('why not', allow_module_level=True)", "true", "1 error"),
        ("def test_a(): pytest.skip('no Docker engine answers')", "true", "1 skipped"),
        ("@pytest.mark.xfail\ndef test_a(): assert False", "true", "1 xfailed"),
        ("def test_a(): pass\n@pytest.mark.docker\ndef test_b(): pass", "true", "1 deselected"),
    ],
)
def test_which_skips_fail(code: str, ci: str, closing: str, tmp_path: Path) -> None:
    assert closing in _run(tmp_path, code, ci=ci)


@pytest.mark.parametrize(
    ("code", "closing"),
    [
        ("def test_a(): pytest.skip('why not')", "1 failed"),
        ("pytest.skip('why not', allow_module_level=True)", "1 error"),
        ("def test_a(): pytest.skip('no Docker engine answers')", "1 skipped"),
    ],
)
def test_the_same_skips_fail_where_tests_run_in_several_processes(
    code: str, closing: str, tmp_path: Path
) -> None:
    assert closing in _run(tmp_path, code, "-p", "xdist", "-n", "1", ci="true")
