"""What a worker says while Redis does not answer: a line at the start, a few while it lasts, and
one when it is over. Each processor has many calls under way that all fail for one reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from redis.exceptions import ConnectionError, TimeoutError

from runnel.log import logger_of, reason

logger = logger_of("runnel.worker")

#: Seconds between two lines about what lasts, or comes again and again: the first, and the most.
FIRST, MOST = 10.0, 300.0
#: Seconds after which a call that failed counts no more where others are answered: it may wait for
#: its reply for long, as a read does, or nobody is going to make it again.
STALE_GRANT = 3.0


class Unanswered:
    """The calls of one processor, or of the tasks of an app, that Redis did not answer.

    `who` is said in each line, such as ``processor orders``.
    """

    def __init__(self, who: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._who = who
        self._clock = clock
        #: Call -> when it failed last, of those that have not been answered since.
        self._open: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._began = 0.0
        self._refused = False
        #: Whether anything was said since it began.
        self._told = False
        self._next, self._pause = 0.0, FIRST
        self._ended = float("-inf")

    def failed(self, call: str, error: BaseException) -> None:
        """A call, such as ``commit``, was not answered or was refused, and is made again."""
        now = self._clock()
        if not self._open:
            self._begin(now, error)
        self._open[call] = now
        self._counts[call] += 1
        if now < self._next:
            return
        self._next, self._pause = now + self._pause, min(self._pause * 2, MOST)
        what = "refuses calls" if self._refused else "does not answer"
        if not self._told and sum(self._counts.values()) == 1:
            logger.warning(
                "%s: Redis %s (%s), asking again: %s", self._who, what, call, reason(error)
            )
        else:
            logger.warning(
                "%s: Redis still %s after %s, asking again: %s failed, the last with: %s",
                self._who,
                what,
                _seconds(now - self._began),
                self._told_counts(),
                reason(error),
            )
        self._told = True

    def answered(self, call: str) -> None:
        """A call was answered, or is not going to be made again."""
        if not self._open:
            return
        now = self._clock()
        self._open.pop(call, None)
        for other in [each for each, at in self._open.items() if now - at > STALE_GRANT]:
            del self._open[other]
        if self._open:
            return
        self._ended = now
        if self._told:
            logger.warning(
                "%s: Redis %s again, after %s: %s had failed",
                self._who,
                "takes calls" if self._refused else "answers",
                _seconds(now - self._began),
                self._told_counts(),
            )

    def _begin(self, now: float, error: BaseException) -> None:
        if now - self._ended > MOST:
            self._next, self._pause = now, FIRST
        if self._told or now - self._ended > MOST:
            self._counts.clear()
            self._began = now
        self._told = False
        self._refused = not isinstance(error, (ConnectionError, TimeoutError, OSError))

    def _told_counts(self) -> str:
        total = sum(self._counts.values())
        each = ", ".join(f"{call} {count}" for call, count in self._counts.most_common())
        return f"{total} call{'s' if total > 1 else ''} ({each})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


_current: ContextVar[Unanswered] = ContextVar("runnel_unanswered")


def watch(who: str) -> None:
    """From here on, calls of this task and of the tasks that it starts are those of `who`."""
    _current.set(Unanswered(who))


def failed(call: str, error: BaseException) -> None:
    """A call of this task failed, and is made again."""
    _here().failed(call, error)


def answered(call: str) -> None:
    """A call of this task was answered, or is not going to be made again."""
    _here().answered(call)


def _here() -> Unanswered:
    try:
        return _current.get()
    except LookupError:
        watch("worker")
        return _current.get()
