"""One line for all partitions that move in a rebalance, once they have moved, and one for all that
were lost, or had lost their keys, for one reason."""

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

#: Seconds without a move after which they are told, and seconds after which they are told anyway.
SETTLED, LATEST = 0.3, 5.0
#: Why a partition was lost, in words.
_WHY: dict[type[ProtocolError], str] = {
    Fenced: "another member has claimed it since, or an operator has moved it",
    StaleGrant: "the group has granted it anew since",
}


class Moves:
    """The partitions of one processor that came to this worker and went.

    `held` tells which it has, of `total`.
    """

    def __init__(self, processor: str, held: Callable[[], Iterable[int]], total: int) -> None:
        self._processor = processor
        self._held = held
        self._total = total
        self._took = self._gave = 0
        #: Who did not give back -> how many of those that came.
        self._after: Counter[str] = Counter()
        #: Why -> the partitions that were lost.
        self._lost: dict[str, list[int]] = {}
        #: What was missing -> the partitions that it was made anew for.
        self._mended: dict[str, list[int]] = {}
        #: That of the group: what moves a partition may have fields of its own for the log.
        self.context: Context | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0

    def took(self, after: str = "") -> None:
        """One came; `after` is the member that held it before and did not give it back, if any."""
        self._took += 1
        if after:
            self._after[after] += 1
        self._moved()

    def gave(self) -> None:
        """One went."""
        self._gave += 1
        self._moved()

    def lost(self, partition: int, refusal: ProtocolError) -> None:
        """A call of the lease of one was refused, so that it is to be claimed anew."""
        self._lost.setdefault(_WHY.get(type(refusal)) or str(refusal), []).append(partition)
        self._moved()

    def mended(self, partition: int, refusal: ProtocolError) -> None:
        """Keys of one were lost, and are made anew."""
        self._mended.setdefault(str(refusal), []).append(partition)
        self._moved()

    def _moved(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is None:
            self._latest = now + LATEST
        else:
            self._timer.cancel()
        at = min(now + SETTLED, self._latest)
        self._timer = loop.call_at(at, self.tell, context=self.context)

    def tell(self) -> None:
        """Say what moved since this was said last."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        for why, partitions in self._lost.items():
            logger.warning(
                "processor %s gives up %s: %s",
                self._processor,
                those(partitions),
                why,
                extra={"partitions": partitions},
            )
        for why, partitions in self._mended.items():
            logger.error(
                "processor %s, %s: keys were lost and are made anew, as after a restart of Redis "
                "without its data (%s)",
                self._processor,
                those(partitions),
                why,
                extra={"partitions": partitions},
            )
        self._lost, self._mended = {}, {}
        held = sorted(self._held())
        took, gave, after = self._took, self._gave, self._after
        self._took, self._gave, self._after = 0, 0, Counter()
        if not (took or gave):
            return
        now = ranges(held) if held else "none"
        logger.log(
            logging.WARNING if after else logging.INFO,
            "processor %s: gave %d, took %d%s: now %s (%d of %d claimed)",
            self._processor,
            gave,
            took,
            _from(after),
            now,
            len(held),
            self._total,
            extra={"gave": gave, "took": took, "after_loss": dict(after), "partitions": held},
        )


def _from(after: Counter[str]) -> str:
    """Whom partitions were taken from, for people."""
    if not after:
        return ""
    names = sorted(after)
    who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
    were = "which was lost or" if len(names) == 1 else "which were lost or"
    return f", {after.total()} of them from {who}, {were} did not give them back in time"


_current: ContextVar[Moves] = ContextVar("runnel_moves")


def watch(moves: Moves) -> None:
    """From here on, partitions of this task and of the tasks that it starts are lost to these."""
    moves.context = copy_context()
    _current.set(moves)


def lost(partition: int, refusal: ProtocolError) -> None:
    """A call of this partition's lease was refused."""
    if moves := _current.get(None):
        moves.lost(partition, refusal)


def mended(partition: int, refusal: ProtocolError) -> None:
    """Keys of this partition were lost, and are made anew."""
    if moves := _current.get(None):
        moves.mended(partition, refusal)
