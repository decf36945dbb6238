"""`runnel inspect --watch`: a report every so many seconds, until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import click
from redis.exceptions import RedisError

from runnel.cli.event_loop import Runner
from runnel.cli.inspector import Inspector
from runnel.cli.output import report
from runnel.cli.running import explained, reporting_errors
from runnel.cli.screen import Draw, alternate_screen
from runnel.errors import ServerError

Json = dict[str, Any]

#: What stands between two cells of a table.
_BETWEEN = re.compile(r"( {2,})")


def on_terminal() -> bool:
    """Does a person look at the output?"""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def watch(
    inspector: Inspector, seconds: float, lines: Callable[[Json], list[str]], as_json: bool
) -> None:
    """Show a report every so many seconds until Ctrl-C, which is no error. If Redis does not
    answer, this waits for it. On a terminal it is drawn in place, and cells that have changed are
    bright."""
    last: list[str] = []
    redraws = on_terminal() and not as_json
    with (
        reporting_errors(inspector.url),
        Runner() as loop,
        ExitStack() as screens,
        suppress(KeyboardInterrupt),
    ):
        screens.callback(lambda: loop.run(inspector.close()))
        seen = loop.run(inspector.inspect())
        draw = screens.enter_context(alternate_screen()) if redraws else None
        while True:
            if as_json:
                report(json.dumps(seen))
            else:
                before, last = last, lines(seen)
                draw(brightened(last, before)) if draw else report("\n".join([*last, ""]))
            time.sleep(seconds)
            while (found := _next(inspector, loop, draw, last)) is None:
                time.sleep(seconds)
            seen = found
    if redraws:
        click.echo("\n".join(last))


def _next(inspector: Inspector, loop: Runner, draw: Draw | None, last: list[str]) -> Json | None:
    """The next report, or None after an error, which it shows."""
    try:
        return loop.run(inspector.inspect())
    except (ServerError, RedisError, OSError) as error:
        message = f"error: {explained(error, inspector.url)[0]}"
        draw([message, "", *last]) if draw else click.echo(message, err=True)
        return None


def brightened(lines: Sequence[str], before: Sequence[str]) -> list[str]:
    """The lines, in which the cells of tables are bright that differ from those before."""
    known = {name: cells for name, cells in _rows(before) if name}
    found = []
    for line, (name, cells) in zip(lines, _rows(lines), strict=True):
        old = known.get(name) if name else None
        if old is None or len(old) != len(cells):
            found.append(line)
            continue
        pairs = enumerate(zip(cells, old, strict=True))
        found.append(
            "".join(_bright(cell) if _differ(at, cell, was) else cell for at, (cell, was) in pairs)
        )
    return found


def _rows(lines: Sequence[str]) -> Iterator[tuple[tuple[str, str, int] | None, list[str]]]:
    """Each line as its cells and what is between them. A row of a table has a name: the line above
    the table, the first cell, and a number if several rows begin with it."""
    title, is_title, numbers = "", True, Counter[tuple[str, str]]()
    for line in lines:
        cells = _BETWEEN.split(line)
        first = click.unstyle(cells[0])
        if is_title:
            title = first
        is_title = not line
        numbers[title, first] += 1
        # Other lines are sentences, and the time in one of them is always another one.
        yield (title, first, numbers[title, first]) if len(cells) > 1 else None, cells


def _differ(at: int, cell: str, was: str) -> bool:
    is_space = at % 2 == 1
    return not is_space and click.unstyle(cell) != click.unstyle(was)


def _bright(cell: str) -> str:
    return click.style(cell, bold=True, fg=None if "\x1b" in cell else "bright_white")
