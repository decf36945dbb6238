"""What a held partition is made of: with observers, parts that tell them what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from runnel.core.observed_state import ObservedState
from runnel.core.partition import PartitionState
from runnel.delivery.observed_queue import ObservedQueue
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import ProtocolError
from runnel.observer import Lease, Observer, tell
from runnel.processor import Processor
from runnel.worker.rebalance_log import Moves


class Parts:
    """Makes the parts of the partitions of one processor that `member` holds."""

    def __init__(self, processor: Processor, member: str, observers: Sequence[Observer]) -> None:
        self._processor = processor
        self._member = member
        self._observers = observers

    def state(self, partition: int, *known: Any, **options: Any) -> PartitionState:
        """A `PartitionState`, with its arguments."""
        if not self._observers:
            return PartitionState(partition, *known, **options)
        state, processor = ObservedState(partition, *known, **options), self._processor
        stream = processor.stream
        lease = Lease(
            stream.app, processor.name, stream.name, partition, state.token.epoch, self._member
        )
        told = (tell(each.partition, lease) for each in self._observers)
        state.observers = [each for each in told if each is not None]
        return state

    def queue(self, state: PartitionState, **options: Any) -> PartitionQueue:
        """A `PartitionQueue`, with its arguments."""
        if isinstance(state, ObservedState):
            return ObservedQueue(state, **options)
        return PartitionQueue(state, **options)

    def moves(self, held: Callable[[], Iterable[int]]) -> Moves:
        """The log of its rebalances."""
        total = self._processor.stream.partition_count
        if not self._observers:
            return Moves(self._processor.name, held, total)
        moves = _ObservedMoves(self._processor.name, held, total)
        moves.app, moves.observers = self._processor.app, self._observers
        return moves


class _ObservedMoves(Moves):
    """Tells observers which leases were lost."""

    app = ""
    observers: Sequence[Observer] = ()

    def lost(self, partition: int, refusal: ProtocolError) -> None:
        super().lost(partition, refusal)
        for each in self.observers:
            tell(each.lease_lost, self.app, self._processor, refusal.word)
