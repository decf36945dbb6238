"""CI and the pre-commit hook run the same scripts that a developer runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.git import environment, git
from tests.test_constraints import PYTHONS

ROOT = Path(__file__).parents[1]
HOOKS = ROOT / ".pre-commit-config.yaml"
JOB: Any = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["run"]


def test_the_workflow_runs_the_script_and_nothing_else() -> None:
    [command] = [step["run"] for step in JOB["steps"] if "run" in step]
    assert command == 'sudo env "PATH=$PATH" .ci/run'
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_workflow_has_every_python_that_pyproject_names() -> None:
    assert JOB["strategy"]["matrix"]["python"] == PYTHONS
    [python] = [step["with"] for step in JOB["steps"] if "setup-python" in step.get("uses", "")]
    assert python == {"python-version": "${{ matrix.python }}"}


def test_the_scripts_take_the_python_that_path_names_first(tmp_path: Path) -> None:
    """The workflow chooses a Python by PATH alone."""
    text = (ROOT / "scripts/bootstrap").read_text()
    functions = text.partition("stamp_of()")[0].replace('cd "$(dirname', ': "$(dirname')
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).symlink_to(sys.executable)
    found = subprocess.run(
        ["bash", "-c", f'{functions}\ncommand -v "$(find_python)"'],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(tmp_path / "python3")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with our hooks, whose scripts/check fails while a file named `wrong` exists."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / ".git/pre-commit"))
    (tmp_path / HOOKS.name).write_text(HOOKS.read_text())
    check = tmp_path / "scripts/check"
    check.parent.mkdir()
    check.write_text("#!/bin/sh\ntest ! -e wrong\n")
    check.chmod(0o755)
    git(tmp_path, "init")
    install = [sys.executable, "-m", "pre_commit", "install"]
    subprocess.run(install, cwd=tmp_path, env=environment(), capture_output=True, check=True)
    git(tmp_path, "add", "--all")
    return tmp_path


def test_a_commit_passes_if_the_check_passes(repository: Path) -> None:
    assert "Passed" in git(repository, "commit", "-m", "All").stderr


def test_a_commit_is_refused_if_the_check_fails(repository: Path) -> None:
    (repository / "wrong").touch()
    refused = git(repository, "commit", "-m", "All", check=False)
    assert refused.returncode == 1
    assert "scripts/check" in refused.stderr
