"""Streams that have no room for what a processor has emitted through its outboxes, in few lines.

Many partitions may wait for one stream. A line tells that it is full, further lines come less and
less often, and one tells when it is over.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from runnel.errors import Full
from runnel.log import logger_of

logger = logger_of("runnel.worker")


class FullTargets:
    """The streams that refuse what the partitions of one processor forward."""

    def __init__(self, processor: str) -> None:
        self._processor = processor
        #: Stream -> the pairs of a partition and the keys of its target that wait.
        self._waiting: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
        self._refusals: Counter[str] = Counter()

    def refused(self, partition: int, stream: str, target: str, error: Full) -> None:
        """A target of this stream has no room for an entry of this partition."""
        waiting = self._waiting[stream]
        waiting.add((partition, target))
        self._refusals[stream] += 1
        if self._refusals[stream].bit_count() == 1:
            count = len({each for each, _ in waiting})
            logger.error(
                "processor %s: no room in %s, because %s; what it has emitted from %d partition%s "
                "waits, and goes on once there is room",
                self._processor,
                stream,
                error.reason,
                count,
                "" if count == 1 else "s",
            )

    def over(self, partition: int, stream: str, target: str) -> None:
        """The target takes entries of this partition again."""
        if stream in self._waiting:
            self._waiting[stream].discard((partition, target))
            if not self._waiting[stream]:
                self._forget(stream)
                logger.warning("processor %s: there is room again in %s", self._processor, stream)

    def left(self, partition: int) -> None:
        """The partition is not held any more."""
        for stream, waiting in list(self._waiting.items()):
            waiting -= {each for each in waiting if each[0] == partition}
            if not waiting:
                self._forget(stream)

    def _forget(self, stream: str) -> None:
        del self._waiting[stream], self._refusals[stream]
