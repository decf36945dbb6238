"""What tests that lose servers have counted, as a table at the end of the run.

A plugin of pytest: the tests may run in several processes, and one of them prints the table.
"""

from __future__ import annotations

from typing import Any

import pytest
from tabulate import tabulate

HEADS = ("server", "durability", "fault", "sends", "missing", "commits", "missing")
_PROPERTY = "losses"


class Losses:
    """What one test counts: how many sends and commits were acknowledged, how many of these are
    lost."""

    def __init__(self, test: pytest.Item) -> None:
        self._test = test

    def note(
        self, where: tuple[str, str, str], sends: tuple[int, int], commits: tuple[int, int]
    ) -> None:
        """One row: server, durability and fault; then acknowledged and found, of each."""
        counts = [
            n
            for acknowledged, found in (sends, commits)
            for n in (acknowledged, max(0, acknowledged - found))
        ]
        self._test.user_properties.append((_PROPERTY, (*where, *counts)))


@pytest.fixture
def losses(request: pytest.FixtureRequest) -> Losses:
    """Where a test puts what it has counted, for the end of the run."""
    assert isinstance(request.node, pytest.Item)
    return Losses(request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted, that of a server together."""
    rows: list[Any] = [
        row
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, row in report.user_properties
        if name == _PROPERTY
    ]
    if rows:
        terminalreporter.section("what was acknowledged, and what of it is missing", "-")
        rows.sort(key=lambda row: str(row[0]))
        terminalreporter.write_line(tabulate(rows, HEADS, tablefmt="github"))
