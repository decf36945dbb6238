"""Logs which unfinished events have left the stream: the first loss at once, and those that follow
within some seconds in one line."""

from __future__ import annotations

import asyncio

from runnel.log import logger_of
from runnel.operations.partition_ranges import those

logger = logger_of("runnel.worker")

#: Seconds after a line in which further losses of the same processor are gathered for the next.
PAUSE = 5.0
#: Partitions of which a line says where they continue.
_NAMED = 10


class Losses:
    """The losses of one processor in this worker. `log` logs what is gathered, if the worker ends
    before that is due."""

    def __init__(self, processor: str) -> None:
        self._processor = processor
        #: Partition -> events lost since the last line.
        self._lost: dict[int, int] = {}
        #: Partition -> the checkpoint after which it continues.
        self._checkpoints: dict[int, str] = {}
        #: Whether each of these counts is exact.
        self._exact = True
        self._timer: asyncio.TimerHandle | None = None

    @property
    def gathering(self) -> bool:
        """Whether further losses are gathered, and not logged at once."""
        return self._timer is not None

    def add(self, partition: int, lost: int, exact: bool, checkpoint: str) -> None:
        """A claim has found that so many events left the stream; the partition continues after
        `checkpoint`."""
        if not self.gathering:
            logger.error(
                "processor %s, partition %d: %s %s left the stream; continuing after %s",
                self._processor,
                partition,
                "exactly" if exact else "at least",
                _events(lost),
                checkpoint,
                extra={"lost": lost, "partition": partition},
            )
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._log_again)
            return
        self._lost[partition] = self._lost.get(partition, 0) + lost
        self._checkpoints[partition] = checkpoint
        self._exact = self._exact and exact

    def log(self) -> None:
        """Log what was gathered, if anything was."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        lost, self._lost = self._lost, {}
        checkpoints, self._checkpoints = self._checkpoints, {}
        exact, self._exact = self._exact, True
        if lost:
            logger.error(
                "processor %s, %s: since the last such line %s %s left the stream; continuing "
                "after %s",
                self._processor,
                those(sorted(lost)),
                "exactly" if exact else "at least",
                _events(sum(lost.values())),
                _where(checkpoints),
                extra={"lost": sum(lost.values()), "partitions": sorted(lost)},
            )

    def _log_again(self) -> None:
        gathered = bool(self._lost)
        self.log()
        if gathered:  # Otherwise the next loss is logged at once.
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._log_again)


def _where(checkpoints: dict[int, str]) -> str:
    each = [f"{id_} (partition {number})" for number, id_ in sorted(checkpoints.items())]
    more = f" and {len(each) - _NAMED} more" if len(each) > _NAMED else ""
    return ", ".join(each[:_NAMED]) + more


def _events(count: int) -> str:
    return f"{count} unfinished event{'s have' if count != 1 else ' has'}"
