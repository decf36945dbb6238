"""Writes the output of a command completely, or raises an error."""

from __future__ import annotations

import os
import select
import sys

import click

from runnel.errors import OutputLost


def report(text: str) -> None:
    """Write text and a line end to stdout, as `click.echo` does, but all of it.

    A pipe may take only a part, or nothing at the moment, if the program that started the command
    made it non-blocking: then this waits. Raises BrokenPipeError if the reader closed the pipe, and
    OutputLost for any other error.
    """
    if sys.stdout is None:
        raise OutputLost("stdout is closed: nothing could be written")
    try:
        number = sys.stdout.fileno()
    except (OSError, AttributeError):
        number = -1  # Not a file, as in a notebook or a test.
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
            f"only {total - len(left)} of {total} bytes were written to stdout: "
            f"{error.strerror or error}"
        ) from error


def reader_left() -> bool:
    """Has the program that reads stdout through a pipe ended? Nothing else tells, as long as
    nothing is written."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # Errors are reported in any case.
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except (OSError, AttributeError, ValueError):
        return False  # Not a file, as in a notebook or a test.
