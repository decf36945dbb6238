"""Writes what a command reports: whole, or it is an error."""

from __future__ import annotations

import os
import select
import sys

import click

from runnel.errors import OutputLost


def report(text: str) -> None:
    """Write text and a line end to stdout, as `click.echo` does, to the last byte.

    A pipe that takes it in pieces, or takes none just now, is waited for: whoever started the
    command may have made it non-blocking. Raises BrokenPipeError if its reader has left, and
    OutputLost for any other reason not to be written.
    """
    if sys.stdout is None:
        raise OutputLost("stdout is closed: nothing could be written")
    try:
        number = sys.stdout.fileno()
    except (OSError, AttributeError):
        number = -1  # No file: a notebook, or a test.
    if number < 0 or sys.stdout.isatty():
        click.echo(text)
        return
    left = memoryview(
        f"{click.unstyle(text)}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    )
    total = len(left)
    try:
        sys.stdout.flush()
        while left:
            try:
                left = left[os.write(number, left) :]
            except BlockingIOError:
                select.select([], [number], [])
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(
            f"of {total} bytes to stdout {total - len(left)} were written: "
            f"{error.strerror or error}"
        ) from error
