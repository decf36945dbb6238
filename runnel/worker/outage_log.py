"""Logs outages of Redis: a line when one begins, a few while it lasts, and one when it is over.

Without this, each of the many calls of a processor would log the same reason.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from redis.exceptions import ConnectionError, TimeoutError

from runnel.log import logger_of, reason

logger = logger_of("runnel.worker")

#: Seconds between two lines about an outage that lasts or returns: at first, and at most.
FIRST, MOST = 10.0, 300.0
#: Seconds after which a failed call is forgotten if other calls get replies: it may wait for its
#: reply for long, as a read does, or it may not be repeated.
FORGET_AFTER = 3.0


class Unanswered:
    """The calls of one processor, or of the tasks of an app, that failed.

    Each line begins with `name`, such as ``processor orders``.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        #: Call -> when it failed last, for those that have not succeeded since.
        self._open: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._began = 0.0
        self._refused = False
        #: Whether a line was logged since the outage began.
        self._logged = False
        self._next, self._pause = 0.0, FIRST
        self._ended = float("-inf")

    def failed(self, call: str, error: BaseException) -> None:
        """A call, such as ``commit``, got no reply or was refused, and will be repeated."""
        now = self._clock()
        if not self._open:
            self._begin(now, error)
        self._open[call] = now
        self._counts[call] += 1
        if now < self._next:
            return
        self._next, self._pause = now + self._pause, min(self._pause * 2, MOST)
        what = "refuses calls" if self._refused else "does not answer"
        if not self._logged and sum(self._counts.values()) == 1:
            logger.warning(
                "%s: %s failed, Redis %s, retrying: %s", self._name, call, what, reason(error)
            )
        else:
            logger.warning(
                "%s: Redis still %s after %s, retrying: %s failed, the last with: %s",
                self._name,
                what,
                _seconds(now - self._began),
                self._counted(),
                reason(error),
            )
        self._logged = True

    def answered(self, call: str) -> None:
        """A call got a reply, or will not be repeated."""
        if not self._open:
            return
        now = self._clock()
        self._open.pop(call, None)
        for other in [each for each, at in self._open.items() if now - at > FORGET_AFTER]:
            del self._open[other]
        if self._open:
            return
        self._ended = now
        if self._logged:
            logger.warning(
                "%s: Redis %s again, after %s: %s had failed",
                self._name,
                "takes calls" if self._refused else "answers",
                _seconds(now - self._began),
                self._counted(),
            )

    def _begin(self, now: float, error: BaseException) -> None:
        if now - self._ended > MOST:
            self._next, self._pause = now, FIRST
        if self._logged or now - self._ended > MOST:
            self._counts.clear()
            self._began = now
        self._logged = False
        self._refused = not isinstance(error, (ConnectionError, TimeoutError, OSError))

    def _counted(self) -> str:
        total = sum(self._counts.values())
        each = ", ".join(f"{call} {count}" for call, count in self._counts.most_common())
        return f"{total} call{'s' if total > 1 else ''} ({each})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


_current: ContextVar[Unanswered] = ContextVar("runnel_unanswered")


def watch(name: str) -> None:
    """From here on, calls of this task and of the tasks that it starts are logged under `name`."""
    _current.set(Unanswered(name))


def failed(call: str, error: BaseException) -> None:
    """A call of this task failed, and will be repeated."""
    _here().failed(call, error)


def answered(call: str) -> None:
    """A call of this task got a reply, or will not be repeated."""
    _here().answered(call)


def _here() -> Unanswered:
    try:
        return _current.get()
    except LookupError:
        watch("worker")
        return _current.get()
