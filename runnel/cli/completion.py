"""The command ``runnel completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from runnel.cli import exits
from runnel.cli.output import report

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=exits.epilog(
        'eval "$(runnel completion bash)"          # in ~/.bashrc',
        'eval "$(runnel completion zsh)"           # in ~/.zshrc',
        "runnel completion fish > ~/.config/fish/completions/runnel.fish",
        codes=exits.LOCAL,
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete the words of `runnel`."""
    from runnel.cli import main

    made = get_completion_class(shell)
    assert made is not None
    report(made(main, {}, "runnel", "_RUNNEL_COMPLETE").source().rstrip())
