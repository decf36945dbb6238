"""Records what happens as lines, and computes a hash of all lines.

Ids of entries come from the server's real clock. The trace calls the n-th id of a partition ``#n``,
so that the same seed gives the same lines on every server.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from runnel.errors import BY_WORD
from runnel.protocol.scripts import Call
from tests.simulation.stored import split

_ID = re.compile(r"\b\d{13}-\d+\b")
#: How many arguments of a script are recorded; all of scripts that are not listed here.
_ARGS = {"append": 7, "append_numbered": 6, "transact": 11, "trim_outbox": 6, "append_later": 7}


class Violation(Exception):
    """An invariant is violated. `invariant` is its name in the design, such as S4."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class Trace:
    """Collects lines; keeps the last `keep` of them."""

    def __init__(self, keep: int | None = 60) -> None:
        #: Returns the virtual time in seconds.
        self.clock: Callable[[], float] = lambda: 0.0
        self.lines: deque[str] = deque(maxlen=keep)
        self.count = 0
        self._hash = hashlib.sha256()
        self._names: dict[str, dict[str, str]] = {}

    def say(self, who: object, what: str) -> None:
        """Add a line."""
        self.count += 1
        line = f"{self.clock():10.4f} {who} {what}"
        self._hash.update(line.encode() + b"\n")
        self.lines.append(line)

    def called(self, who: object, call: Call, reply: object) -> None:
        """Add a line for a call of a script and its reply."""
        if isinstance(reply, ResponseError) and str(reply).split()[0] not in BY_WORD:
            reply = type(reply).__name__  # Its text differs between servers.
        if call.script == "describe_group" and isinstance(reply, list):
            reply = len(reply)  # The order of partitions differs between servers.
        args = call.args[: _ARGS.get(call.script, len(call.args))]
        if call.script == "attempt" and call.args[2] == "wait":
            args = args[:5]  # The reason has an id of another partition.
        if call.script == "sync":  # The description names this process, so it is left out.
            args = (*args[:8], *args[9:])
        scope = call.keys[0].split("}")[0].split(":")[-1]
        prefix = split(call.keys[0])[0]
        text = self.named(prefix, f"{call.script} {scope} {' '.join(map(_text, args))}")
        _, found, sink = str(reply).partition(" sink=")
        about = split(sink)[0] if found else prefix
        self.say(who, f"{text} -> {self.named(about, _text(reply))}")

    def know(self, prefix: str, ids: Sequence[str]) -> None:
        """Number these new ids, in this order."""
        names = self._names.setdefault(prefix, {})
        for id_ in ids:
            names.setdefault(id_, f"#{len(names) + 1}")

    def named(self, prefix: str, text: str) -> str:
        """The text, with the ids of this partition replaced by their numbers."""
        names = self._names.setdefault(prefix, {})
        return _ID.sub(lambda found: names.setdefault(found[0], f"#{len(names) + 1}"), text)

    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.hexdigest()[:16]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + " ".join(map(_text, value)) + "]"
    return str(value)
