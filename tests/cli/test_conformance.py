"""The command ``runnel conformance run``, as a shell runs it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from runnel.cli import main
from runnel.conformance.trials import TRIALS

CLIENT_WORKER = shlex.join([sys.executable, "-m", "tests.kit.client", "worker"])
PLANTED = f"env PLANT=early-commit {CLIENT_WORKER}"


def kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runnel", "conformance", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_trials_are_listed() -> None:
    done = kit("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["TRIAL", *TRIALS]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --worker, --producer or both"),
        (["--worker", "x", "--only", "kil"], "there is no trial 'kil'; there are calm, codecs,"),
        (["--worker", "x", "--only", "kill", "--skip", "kill"], "no trial is left"),
        (["--worker", "x", "--without", "park"], "there is no ability 'park'; there are parked,"),
        (["--worker", "x", "--without", "delayed", "--only", "delayed"], "no trial is left"),
        (["--worker", "'x"], '--worker "\'x" cannot be split: No closing quotation'),
        (["--worker", " "], "--worker is empty"),
        (["--worker", "no-such-program"], "the command 'no-such-program' cannot be started"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["conformance", "run", *arguments])
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_a_client_that_passes_and_one_that_does_not() -> None:
    passing = ["--worker", CLIENT_WORKER, "--only", "calm,delayed", "--json", "--seed", "3"]
    done = kit(*passing, "--without", "delayed")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["passed"], found["seed"], found["without"]) == (True, 3, ["delayed"])
    assert [each["name"] for each in found["trials"]] == ["calm"]
    done = kit("--worker", PLANTED, "--only", "calm")
    assert done.returncode == 1
    assert "rule W17: an event was committed before its handler had finished it" in done.stdout
    assert "1 of 1 trials FAILED" in done.stdout
    folder = Path(done.stdout.splitlines()[0].rpartition(" ")[2])
    assert "commit (partition 0) kit" in (folder / "calm/history.txt").read_text()
    shutil.rmtree(folder)
