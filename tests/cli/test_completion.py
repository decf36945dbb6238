"""`runnel completion`: what a shell evaluates."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("shell", "part"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef"), ("fish", "complete --no-files")],
)
def test_it_prints_the_script_of_each_shell(run: Run, shell: str, part: str) -> None:
    done = run("completion", shell)
    assert done.code == 0
    assert part in done.stdout
    assert "_RUNNEL_COMPLETE" in done.stdout


def test_bash_accepts_it(run: Run) -> None:
    script = run("completion", "bash").stdout
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused(run: Run) -> None:
    assert run("completion", "tcsh").code == 2
