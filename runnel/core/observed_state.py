"""`ObservedState`: a partition's state that tells observers what becomes of its events."""

from __future__ import annotations

from collections.abc import Sequence

from runnel.core.partition import PartitionState
from runnel.observer import PartitionObserver, failed, tell
from runnel.protocol import CheckpointMove
from runnel.protocol.scripts import Call


class ObservedState(PartitionState):
    """Tells `observers`, which are set before its first event is handed out."""

    observers: Sequence[PartitionObserver] = ()
    #: The event that is finished was given up.
    _skipping = False

    def finish(self, count: int | None = None) -> bool:
        # For each event of a handler that gets one at a time: as few steps as possible.
        before = self.current
        scheduled = PartitionState.finish(self, count)
        if before and self.refused is None and not self._skipping:
            left = len(self.current)
            finished = before[: len(before) - left] if left else before
            for each in self.observers:
                try:
                    each.finished(finished)
                except Exception as error:
                    failed(each.finished, error)
        return scheduled

    def skipped(self, move: CheckpointMove) -> None:
        self._skipping = True
        try:
            super().skipped(move)
        finally:
            self._skipping = False

    def commit_call(self, move: CheckpointMove) -> Call:
        for each in self.observers:
            tell(each.committing, move.next, move.count)
        return super().commit_call(move)

    def committed(self, move: CheckpointMove) -> None:
        applied = move == self._in_flight
        super().committed(move)
        if applied:
            for each in self.observers:
                tell(each.committed, move.next, move.count)

    def end(self) -> None:
        super().end()
        for each in self.observers:
            tell(each.closed)
