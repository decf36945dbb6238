"""The options of `runnel worker --exec`."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from runnel.cli import sidecar_options
from runnel.cli.sidecar_options import SidecarOptions
from tests.cli.conftest import Run

NAMES = ["--app", "a", "--stream", "s", "--processor", "p"]


def parsed(*arguments: str) -> tuple[SidecarOptions | None, str]:
    """What the options say, and what is said of wrong ones."""
    found: list[SidecarOptions | None] = []

    @click.command()
    @sidecar_options.options
    @click.pass_context
    def command(ctx: click.Context, /, **given: Any) -> None:
        found.append(sidecar_options.taken(ctx, given))
        assert given == {}

    done = CliRunner().invoke(command, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return (found or [None])[0], done.output


def test_the_command_is_split_into_words_without_a_shell() -> None:
    options, _ = parsed("--exec", "ruby 'my handler.rb' $HOME", *NAMES, "--table", "t", "--table=u")
    assert options is not None
    assert options.command == ("ruby", "my handler.rb", "$HOME")
    assert (options.app, options.stream, options.processor) == ("a", "s", "p")
    assert (options.tables, options.key, options.retries) == (("t", "u"), None, None)
    assert parsed() == (None, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--exec", "x"], "--exec needs --app and --stream and --processor too."),
        (["--exec", "x", *NAMES[:4]], "--exec needs --processor too."),
        (["--exec", "", *NAMES], "it names no program."),
        (["--exec", "a 'b", *NAMES], "No closing quotation"),
        (["--key", "k"], "--key goes with --exec."),
        (["--table", "k"], "--table goes with --exec."),
        (["--handler-timeout", "5"], "--handler-timeout goes with --exec."),
        (["--policy", "ignore"], "--policy goes with --exec."),
        (["--exec", "x", *NAMES, "--policy", "cook"], "'cook' is not one of"),
        (["--exec", "x", *NAMES, "--batch", "0"], "--batch"),
        (["--exec", "x", *NAMES, "--handler-timeout", "nan"], "--handler-timeout"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], says: str) -> None:
    options, output = parsed(*arguments)
    assert options is None
    assert says in " ".join(output.split())


def test_a_worker_needs_a_target_or_a_program(run: Run) -> None:
    for arguments in ([], ["tests.cli.shop:app", "--exec", "x", *NAMES]):
        done = run("worker", *arguments)
        assert done.code == 2
        assert "give a TARGET such as example:app; or, for a handler in another" in done.stderr
    for option in (["--reload"], ["--processors", "a"], ["--embedded"]):
        done = run("worker", "--exec", "x", *NAMES, *option)
        assert "--reload, --processors and --embedded go with a TARGET." in done.stderr
