"""What is known beside an event that was set aside: the last field of its entry, ``@failed``.

Entries of parked events and of dead letters have it, if there is something to tell. Its value is
how many replays of the event have failed, a space, and the traceback of its failure. Clients may
omit it, and it is none of the fields of the event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from runnel.protocol.streams import Entry

_FIELD = b"@failed"
_VALUE = re.compile(rb"(\d{1,9}) (.*)", re.DOTALL)
#: Bytes of a traceback, the last ones: they say where the error was raised. As many letters may
#: wait as their partition has room for, so each is small.
MOST_TRACEBACK = 2000
#: Bytes of an entry that still gets a traceback: the largest records make large letters already.
MOST_ENTRY = 1_000_000


class Failed(NamedTuple):
    """How many replays of an event have failed, and the traceback of its failure."""

    replays: int = 0
    traceback: str = ""


#: Of a failure that a client says nothing more of.
UNTOLD = Failed()


def with_failed(fields: Entry, failed: Failed) -> Entry:
    """The fields of an entry, with this behind them. A traceback that is too long loses its first
    lines; that of an entry which is large without it is left out."""
    trace = failed.traceback.encode(errors="replace")
    if sum(map(len, fields)) > MOST_ENTRY:
        trace = b""
    elif len(trace) > MOST_TRACEBACK:
        trace = trace[-MOST_TRACEBACK:]
        trace = trace.partition(b"\n")[2] or trace
    # What the event itself has under this name is not taken for ours.
    if not (trace or failed.replays or _FIELD in fields[-2:-1]):
        return fields
    return [*fields, _FIELD, b"%d %b" % (failed.replays, trace)]


def read_failed(values: Sequence[bytes]) -> tuple[Failed, Sequence[bytes]]:
    """What stands behind the fields of an entry, and these."""
    if _FIELD in values[-2:-1] and (found := _VALUE.fullmatch(values[-1])):
        failed = Failed(int(found[1]), found[2].decode(errors="replace"))
        return failed, values[:-2]
    return UNTOLD, values
