"""Decides when the worker processes of `--processes` start again. Reads no clock."""

from __future__ import annotations

import signal
from dataclasses import dataclass

#: Seconds until a process that has ended starts again; doubled for each further time.
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
#: Seconds after which a process that has worked counts as healthy: the delay begins anew.
HEALTHY = 60.0
#: The exit code of a process that SIGTERM has killed.
_BY_SIGTERM = 128 + signal.SIGTERM


@dataclass
class Slot:
    """One of the processes, and those that take its place."""

    #: When to start it; None while it runs, or if it does not start again.
    start_at: float | None = 0.0
    running: bool = False
    #: Since when it works, that is, since its startup functions have returned.
    ready_since: float | None = None
    #: How often in a row it has ended without being healthy.
    failures: int = 0
    #: Has it ended before it worked?
    failed_to_start: bool = False
    #: The exit code of the last one that ended.
    code: int = 0


class Fleet:
    """Processes with the numbers from 1. Those that end start again if `restart`."""

    def __init__(self, count: int, restart: bool = True) -> None:
        self.slots = {number: Slot() for number in range(1, count + 1)}
        self.restart = restart

    def started(self, number: int) -> None:
        """A process was started."""
        slot = self.slots[number]
        slot.start_at, slot.running, slot.ready_since = None, True, None

    def ready(self, number: int, now: float) -> None:
        """A process works."""
        slot = self.slots[number]
        slot.ready_since, slot.failed_to_start = now, False

    def ended(self, number: int, code: int, now: float) -> None:
        """A process has ended with an exit code; those of signals are over 128."""
        slot = self.slots[number]
        since = slot.ready_since
        slot.failed_to_start = since is None
        healthy = since is not None and now - since >= HEALTHY
        slot.failures = 1 if healthy else slot.failures + 1
        slot.code, slot.running, slot.ready_since = code, False, None
        if self.restart:
            # Bounded before it is doubled: an integer of a thousand bits fits no clock.
            doubled = FIRST_DELAY * 2 ** min(slot.failures - 1, 10)
            slot.start_at = now + min(LONGEST_DELAY, doubled)

    def start_again(self, now: float) -> None:
        """All of them are to start, whatever was before."""
        for slot in self.slots.values():
            slot.start_at, slot.failures, slot.failed_to_start = now, 0, False

    def due(self, now: float) -> list[int]:
        """The processes to start now."""
        starts = {number: self.start_of(number) for number in self.slots}
        return [number for number, start in starts.items() if start is not None and start <= now]

    def next_start(self) -> float | None:
        """When the next process is due; None if none is."""
        starts = [self.start_of(number) for number in self.slots]
        return min((start for start in starts if start is not None), default=None)

    def start_of(self, number: int) -> float | None:
        """When a process is due; None if that is open. One that could not start waits until another
        one works: if none can, all end."""
        slot = self.slots[number]
        works = any(each.ready_since is not None for each in self.slots.values())
        return slot.start_at if works or not slot.failed_to_start else None

    @property
    def all_ended(self) -> bool:
        """Does none run?"""
        return not any(each.running for each in self.slots.values())

    @property
    def hopeless(self) -> bool:
        """Has none run, and each failed to start?"""
        return self.all_ended and all(each.failed_to_start for each in self.slots.values())

    @property
    def over(self) -> bool:
        """Does none run, and will none start?"""
        planned = any(each.start_at is not None for each in self.slots.values())
        return self.hopeless or (self.all_ended and not planned)

    def worst(self, asked: bool = False) -> int:
        """The largest of the last exit codes. If all were `asked` to end, those that SIGTERM has
        killed before they could handle it have ended well."""
        codes = [each.code for each in self.slots.values()]
        return max(0 if asked and code == _BY_SIGTERM else code for code in codes)
