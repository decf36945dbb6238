"""The history of a lease: what its scripts have noted of it, for people."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """What happened to a lease: when, by the server's clock in ms; what, such as ``claimed``; the
    epoch; the member, None for an operator; and more, such as the member whose lease ended."""

    at_ms: int
    what: str
    epoch: int
    member: str | None
    more: str


def read_history(text: str) -> list[Note]:
    """The notes, the oldest first. A line that is no note is left out."""
    found = []
    for line in text.splitlines():
        at, what, epoch, member, more = [*line.split(" ", 4), "", "", "", ""][:5]
        if at.isdecimal() and epoch.isdecimal():
            who = None if member in ("-", "") else member
            found.append(Note(int(at), what, int(epoch), who, more))
    return found
