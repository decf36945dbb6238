"""Frames on a terminal."""

from __future__ import annotations

from runnel.cli.screen import fit


def test_a_frame_has_as_many_lines_as_the_terminal() -> None:
    lines = [f"line {number}" for number in range(10)]
    assert fit(lines, 80, 10) == lines
    assert fit(lines, 80, 4) == [*lines[:3], "… and 7 more lines: enlarge the window"]
    assert fit(["x" * 30, *lines], 20, 4)[:2] == ["x" * 30, "line 0"]
