"""Asks before a command gives something up."""

from __future__ import annotations

import sys

import click

from runnel.cli import exits


def agree(question: str, nothing: str) -> None:
    """Ask, and go on after a yes. Ends the command after a no; and if nobody can answer, with
    `nothing`, which says what was not done, and the option that is the yes of a script."""
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # Ends the line of the question.
        exits.fail(f"{nothing}, as nobody answered: --yes does it without a question", exits.USAGE)
    if not agreed:
        raise click.Abort
