"""Notes of a lease, as scripts write them."""

from __future__ import annotations

from runnel.protocol.history import Note, read_history


def test_a_note_is_a_line_and_other_lines_are_left_out() -> None:
    text = (
        "1795 claimed 17 w-1\n1796 took_over 18 w-2 w-1\n1797 quarantined 18 w-2 5-0\n"
        "1798 resumed 18 -\nrubbish\n\n1 2\nx claimed 1 w\n1799 sought 19 - 4-0\n1799 ne"
    )
    assert read_history(text) == [
        Note(1795, "claimed", 17, "w-1", ""),
        Note(1796, "took_over", 18, "w-2", "w-1"),
        Note(1797, "quarantined", 18, "w-2", "5-0"),
        Note(1798, "resumed", 18, None, ""),
        Note(1799, "sought", 19, None, "4-0"),
    ]
    assert read_history("") == []
