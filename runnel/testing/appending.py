"""The streams of a test: carries out the calls that add events to them, now or later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from runnel import keys
from runnel.errors import Full
from runnel.protocol import Entry
from runnel.protocol.ids import reached
from runnel.protocol.scripts import Call, error_from
from runnel.testing.due import DueEvents
from runnel.testing.parsing import Arguments
from runnel.testing.stored import Group, Log
from runnel.testing.trimming import Limits, leaving


class Appending:
    """The logs, and what will enter them. `now` gives the time in ms."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        #: Numbers the entries of all logs.
        self._places = iter(range(10**12))
        self.logs: defaultdict[str, Log] = defaultdict(Log)
        #: Log -> what enters it later.
        self.due: defaultdict[str, DueEvents] = defaultdict(DueEvents)
        self._groups: dict[str, Group] = {}
        self._once: dict[str, tuple[str, int]] = {}
        self._numbers: dict[tuple[str, str], str] = {}

    def _declare(self, call: Call) -> int:
        return 0

    def _append(self, call: Call) -> list[Any]:
        arguments = Arguments(call.args, 3)
        size, when_full, _, _ = arguments.many(4)
        entries = arguments.entries()
        ids = self._append_to(call.keys[0], Limits.of(size, when_full), entries)
        return [1, ids[0], len(ids)]

    def _append_once(self, call: Call) -> list[Any]:
        log, _, name = call.keys
        arguments = Arguments(call.args, 3)
        size, when_full, window = arguments.many(3)
        there, until = self._once.get(name, ("", 0))
        if there and self._now() < until:
            return [0, there, 1]
        (id_,) = self._append_to(log, Limits.of(size, when_full), [arguments.entry()])
        self._once[name] = id_, self._now() + int(window)
        return [1, id_, 1]

    def _append_numbered(self, call: Call) -> list[Any]:
        log, _, name = call.keys
        arguments = Arguments(call.args, 3)
        size, when_full, sender = arguments.many(3)
        last = self._numbers.get((name, sender), "")
        entries = []
        while arguments.left:
            number, entry = arguments.take(), arguments.entry()
            if not last or not reached(last, number):
                entries.append(entry)
                last = number
        ids = self._append_to(log, Limits.of(size, when_full), entries) if entries else []
        self._numbers[name, sender] = last
        return [len(ids), ids[0] if ids else "", len(ids), last]

    def _append_later(self, call: Call) -> list[int]:
        meta, _, request = call.keys
        arguments = Arguments(call.args, 3)
        size, kind, ms, window = arguments.many(4)
        now, due = self._now(), self.due[_log_of(meta)]
        if (there := due.repeated(request, now)) is not None:
            return there
        entries = arguments.entries()
        if len(due) + len(entries) > int(size):
            raise error_from(ResponseError(f"FULL delayed={len(due)} limit={size}"))
        due.size = int(size)
        at = int(ms) if kind == "at" else now + int(ms)
        return due.add(max(at, now), entries, request, now + int(window))

    def _promote(self, call: Call) -> list[int]:
        due = self.due[call.keys[0]]
        next_ = due.next
        return [0, len(due), -1 if next_ is None else max(0, next_ - self._now()), 0]

    def _cancel(self, call: Call) -> int:
        return int(self.due[_log_of(call.keys[0])].cancel(*map(int, call.args)))

    def promote(self) -> None:
        """Move events that are due into their logs, as far as there is room."""
        for log, due in self.due.items():
            while event := due.take(self._now()):
                try:
                    self._append_to(log, Limits(due.size, 0, "refuse"), [event.entry])
                except Full:
                    due.put_back(event)
                    break

    @property
    def next_due(self) -> float | None:
        """When the next event enters its log, or comes again, in seconds since 1970: in the middle
        of that millisecond, so that no rounding makes it too early."""
        times = [each.next for each in self.due.values()]
        times += [each.next_due for each in self._groups.values()]
        found = [each for each in times if each is not None]
        return (min(found) + 0.5) / 1000 if found else None

    def _leaving(self, log: str, limits: Limits, more: int) -> int:
        readers = [each for each in self._groups.values() if each.keys.log == log]
        return leaving(self.logs[log], readers, limits, more, self._now())

    def _append_to(self, log: str, limits: Limits, entries: Sequence[Entry]) -> list[str]:
        """Add entries. Returns their ids. Raises Full."""
        self.logs[log].trimmed += self._leaving(log, limits, len(entries))
        return [self.logs[log].add(next(self._places), self._now(), each) for each in entries]


def _log_of(meta: str) -> str:
    """The log beside a meta."""
    return keys.log(meta.removesuffix(":meta"))
