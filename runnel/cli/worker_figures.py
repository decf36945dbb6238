"""The figures of worker processes, and their page `/metrics`: summed, if there are several.

A process tells its supervisor every second all that it has counted, and once more at its end. What
a process has counted that has died, killed or not, stays in the sum: a counter never falls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from runnel.cli.http_server import Reply
from runnel.metrics import MISSING
from runnel.metrics.tally import Row, Tally

#: Series that a process tells in one line.
ROWS = 500


class Figures(NamedTuple):
    """What one process tells: its series, for how long its event loop has run nothing, and the
    versions of Runnel and of the scripts."""

    rows: Sequence[Row]
    blocked: float
    build: tuple[str, str]

    def lines(self) -> Iterable[dict[str, Any]]:
        """The same in objects of bounded size, for JSON."""
        for at in range(0, max(1, len(self.rows)), ROWS):
            rows = self.rows[at : at + ROWS]
            yield {"rows": rows, "blocked": self.blocked, "build": self.build}


class Told:
    """What a process has told, line by line."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], Any] = {}
        self._blocked = 0.0
        self._build: tuple[str, str] | None = None

    def take(self, line: dict[str, Any]) -> None:
        """Take in a line: it replaces what was told of these series."""
        rows = {tuple(labels): numbers for *labels, numbers in line["rows"]}
        self._rows = {**self._rows, **rows}  # Another thread may read the old ones.
        self._blocked, self._build = line["blocked"], tuple(line["build"])

    @property
    def figures(self) -> Figures | None:
        """All of it; None before the first line."""
        if self._build is None:
            return None
        rows = [[*labels, numbers] for labels, numbers in self._rows.items()]
        return Figures(rows, self._blocked, self._build)


class Sum:
    """The figures of processes that have ended."""

    def __init__(self) -> None:
        self._past = Tally()
        self._lock = threading.Lock()

    def ended(self, figures: Figures | None, forget: Callable[[], None]) -> None:
        """A process has ended. `forget` takes it from those that run: nobody may count it twice, or
        not at all."""
        with self._lock:
            if figures is not None:
                self._past.add(figures.rows)
            forget()

    def page(self, running: Callable[[], Iterable[Figures | None]]) -> Reply:
        """`/metrics`, with the processes that run."""
        total = Tally()
        with self._lock:
            total.add(self._past.rows())
            found = [each for each in running() if each is not None]
        for each in found:
            total.add(each.rows)
        return page(total, found, others=False)


def page(total: Tally, running: Sequence[Figures], *, others: bool = True) -> Reply:
    """`/metrics` of processes that run, with their series in total; with `others`, what else this
    process has in the registry of prometheus_client."""
    try:
        from runnel.metrics import families
    except ImportError:
        return Reply(501, "text/plain; charset=utf-8", MISSING.encode() + b"\n")
    metrics = [*families.families_of(total), families.build_info({each.build for each in running})]
    metrics += families.processes(
        len(running), max((each.blocked for each in running), default=0.0)
    )
    if others:
        metrics += families.others()
    return Reply(200, families.CONTENT_TYPE, families.exposition(metrics))
