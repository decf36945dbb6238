"""Logs a rebalance in one line: all partitions that were claimed and released. So it does with
leases that were lost for one reason, and with partitions whose lost keys were restored."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar, copy_context

from runnel.errors import Fenced, ProtocolError, StaleGrant
from runnel.log import logger_of
from runnel.operations.partition_ranges import ranges, those

logger = logger_of("runnel.worker")

#: Seconds without a change after which the changes are logged, and seconds after which they are
#: logged in any case.
SETTLED, LATEST = 0.3, 5.0
#: Why a lease was lost, for people.
_WHY: dict[type[ProtocolError], str] = {
    Fenced: "another member has claimed it since, or an operator has moved it",
    StaleGrant: "the group has granted it again since",
}


class Moves:
    """The partitions of one processor that this worker has claimed, released or lost.

    `held` returns which it holds now, of `total`.
    """

    def __init__(self, processor: str, held: Callable[[], Iterable[int]], total: int) -> None:
        self._processor = processor
        self._held = held
        self._total = total
        self._claimed = self._released = 0
        #: Member that did not release -> how many of the claimed partitions it had.
        self._lost_owners: Counter[str] = Counter()
        #: Reason -> the partitions whose lease was lost.
        self._lost: dict[str, list[int]] = {}
        #: What was missing -> the partitions where it was restored.
        self._restored: dict[str, list[int]] = {}
        #: The context of the member: that of a partition's task has log fields of its own.
        self.context: Context | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0

    def claimed(self, lost_owner: str = "") -> None:
        """A partition was claimed. `lost_owner` is the member that held it before and did not
        release it, if any."""
        self._claimed += 1
        if lost_owner:
            self._lost_owners[lost_owner] += 1
        self._changed()

    def released(self) -> None:
        """A partition is not held any more."""
        self._released += 1
        self._changed()

    def lost(self, partition: int, refusal: ProtocolError) -> None:
        """A call under the lease of this partition was refused: the lease has ended."""
        self._lost.setdefault(_WHY.get(type(refusal)) or str(refusal), []).append(partition)
        self._changed()

    def restored(self, partition: int, refusal: ProtocolError) -> None:
        """Keys of this partition were lost, and are restored."""
        self._restored.setdefault(str(refusal), []).append(partition)
        self._changed()

    def _changed(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is None:
            self._latest = now + LATEST
        else:
            self._timer.cancel()
        at = min(now + SETTLED, self._latest)
        self._timer = loop.call_at(at, self.log, context=self.context)

    def log(self) -> None:
        """Log what has changed since this was called last."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        for why, partitions in self._lost.items():
            logger.warning(
                "processor %s has lost the lease on %s: %s",
                self._processor,
                those(partitions),
                why,
                extra={"partitions": partitions},
            )
        for why, partitions in self._restored.items():
            logger.error(
                "processor %s, %s: keys were lost and were restored, as after a restart of Redis "
                "without its data (%s)",
                self._processor,
                those(partitions),
                why,
                extra={"partitions": partitions},
            )
        self._lost, self._restored = {}, {}
        held = sorted(self._held())
        claimed, released, lost_owners = self._claimed, self._released, self._lost_owners
        self._claimed, self._released, self._lost_owners = 0, 0, Counter()
        if not (claimed or released):
            return
        moved = {"released": released, "claimed": claimed}
        logger.log(
            logging.WARNING if lost_owners else logging.INFO,
            "processor %s: %s%s: now holds %s (%d of %d)",
            self._processor,
            ", ".join(f"{what} {count}" for what, count in moved.items() if count),
            _from(lost_owners),
            ranges(held) if held else "none",
            len(held),
            self._total,
            extra={
                **moved,
                "lost_owners": dict(lost_owners),
                "partitions": held,
            },
        )


def _from(lost_owners: Counter[str]) -> str:
    """The members that did not release what was claimed, for people."""
    if not lost_owners:
        return ""
    names = sorted(lost_owners)
    members = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
    return f", {lost_owners.total()} of them from {members} without a release"


_current: ContextVar[Moves] = ContextVar("runnel_moves")


def watch(moves: Moves) -> None:
    """From here on, `lost` and `restored` of this task and of the tasks that it starts go to
    `moves`."""
    moves.context = copy_context()
    _current.set(moves)


def lost(partition: int, refusal: ProtocolError) -> None:
    """A call under the lease of this partition was refused."""
    if moves := _current.get(None):
        moves.lost(partition, refusal)


def restored(partition: int, refusal: ProtocolError) -> None:
    """Keys of this partition were lost, and are restored."""
    if moves := _current.get(None):
        moves.restored(partition, refusal)
