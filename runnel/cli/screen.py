"""Redraws lines in place on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

Draw = Callable[[Sequence[str]], None]

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@contextmanager
def alternate_screen() -> Iterator[Draw]:
    """Switch to the terminal's alternate screen, and back at the end. Yields what draws on it."""
    _write(_ENTER)
    try:
        yield _draw
    finally:
        _write(_LEAVE)


def _draw(lines: Sequence[str]) -> None:
    """Show as many lines as fit. One write overwrites the old lines, and nothing is cleared before,
    so that nothing flickers."""
    kept = fit(lines, *shutil.get_terminal_size())
    context = click.get_current_context(silent=True)
    if context is not None and context.color is False:
        kept = [click.unstyle(line) for line in kept]
    _write(_HOME + "\n".join(line + _REST_OF_LINE for line in kept) + _REST_OF_SCREEN)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def fit(lines: Sequence[str], columns: int, rows: int) -> list[str]:
    """The first lines that fit into a terminal, and a line that counts the others."""
    needed = [max(1, -(-len(click.unstyle(line)) // columns)) for line in lines]
    if sum(needed) <= rows:
        return list(lines)
    kept, room = 0, rows - 1
    while (room := room - needed[kept]) >= 0:
        kept += 1
    return [*lines[:kept], f"… and {len(lines) - kept} more lines: enlarge the window"]
