"""Frames on a terminal."""

from __future__ import annotations

from runnel.cli.screen import fit


def test_a_frame_has_as_many_lines_as_the_terminal() -> None:
    told = [f"line {number}" for number in range(10)]
    assert fit(told, 80, 10) == told
    assert fit(told, 80, 4) == [*told[:3], "… and 7 more lines: enlarge the window"]
    assert fit(["x" * 30, *told], 20, 4)[:2] == ["x" * 30, "line 0"]
