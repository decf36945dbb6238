"""What has changed since the report before is bright; `test_inspect.py` watches on a terminal."""

from __future__ import annotations

import click
import pytest

from runnel.cli import view
from runnel.cli.names import Names
from runnel.cli.watching import brightened, on_terminal
from tests.cli.reports import partition, report

BRIGHT = "\x1b[97m\x1b[1m"


def lines(*rows: dict[str, object], behind: int = 61_000) -> list[str]:
    seen = report("ok", *rows)
    seen["at_ms"] += behind
    return view.lines(seen, "redis://h:6379", Names("example", "example:app"))


def changed(after: list[str], before: list[str]) -> list[str]:
    """The cells that are bright."""
    found = []
    for line in brightened(after, before):
        found += [part.partition("\x1b[0m")[0] for part in line.split(BRIGHT)[1:]]
    return found


def test_a_cell_that_has_changed_is_bright() -> None:
    before = lines(partition(0), partition(1, lag_events=5))
    after = lines(partition(0), partition(1, lag_events=7), behind=90_000)
    assert changed(before, before) == []
    # The lag of the processor and that of the partition; the time in the headline is none.
    assert changed(after, before) == ["1211", "7"]
    assert [click.unstyle(line) for line in brightened(after, before)] == [
        click.unstyle(line) for line in after
    ]


def test_a_state_keeps_its_colour() -> None:
    before, after = lines(partition(0)), lines(partition(0, state="paused"))
    (line,) = (each for each in brightened(after, before) if "\x1b[1m\x1b[33mpaused" in each)
    assert click.unstyle(line).startswith("0  paused")


def test_rows_that_are_new_or_of_another_table_are_not_compared() -> None:
    one = ["head", "", "P  LAG", "0  1", "0  2", "", "Q  LAG", "0  9"]
    two = ["head", "", "P  LAG", "0  1", "0  3", "5  5", "", "Q  LAG", "0  9"]
    assert changed(two, one) == ["3"]
    assert changed(two, []) == []
    assert changed([], two) == []


def test_a_program_that_reads_the_output_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not on_terminal()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert on_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not on_terminal()
