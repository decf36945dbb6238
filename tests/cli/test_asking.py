"""Questions before something is given up: yes, no, and nobody who answers."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from runnel.cli.asking import agree


@click.command()
def command() -> None:
    agree("Delete it?", "nothing was deleted")
    click.echo("deleted")


@pytest.mark.parametrize(
    ("typed", "code", "stdout", "stderr"),
    [
        ("y\n", 0, "deleted\n", "Delete it? [y/N]: "),
        ("n\n", 1, "", "Aborted!"),
        ("\n", 1, "", "Aborted!"),
        ("", 2, "", "error: nothing was deleted, as nobody answered: --yes does it without"),
    ],
)
def test_only_a_yes_goes_on(typed: str, code: int, stdout: str, stderr: str) -> None:
    done = CliRunner().invoke(command, input=typed)
    assert (done.exit_code, done.stdout) == (code, stdout)
    assert stderr in done.stderr
    assert done.stderr.startswith("Delete it? [y/N]: ")
