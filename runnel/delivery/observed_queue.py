"""`ObservedQueue`: a queue that tells observers which events the handler gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel.core.observed_state import ObservedState
from runnel.core.reading import Raw
from runnel.delivery.partition_queue import PartitionQueue
from runnel.observer import PartitionObserver, tell


class ObservedQueue(PartitionQueue):
    """Tells the observers of its state, which is an `ObservedState`."""

    state: ObservedState

    def __init__(self, state: ObservedState, **options: Any) -> None:
        super().__init__(state, **options)
        observers, base = state.observers, PartitionObserver
        #: Those that have a say in what the handler gets, and that want to know of each event.
        self._pacing = [each for each in observers if type(each).may_go_on is not base.may_go_on]
        self._noting = [each for each in observers if type(each).given_next is not base.given_next]
        if not (self._pacing or self._noting):
            self.next = super().next  # type: ignore[method-assign]
        #: A call of `take` is under way, which may call itself.
        self._taking = False

    def next(self) -> Raw | None:
        if self._pacing and not self._may_go_on():
            return None  # The handler asks then.
        raw = super().next()
        if raw is not None:
            for each in self._noting:
                tell(each.given_next, raw)
        return raw

    async def take(
        self,
        limit: int,
        within: float | None = None,
        *,
        empty: bool = False,
        finish: int | None = None,
    ) -> Sequence[Raw] | None:
        if self._taking or self.window is not None:  # The handler asks for nothing, then.
            return await super().take(limit, within, empty=empty, finish=finish)
        state, self._taking = self.state, True
        together = limit == 1 and not self.one_by_one
        for each in state.observers:
            tell(each.asked, together and bool(state.buffer))
        try:
            raws = await super().take(limit, within, empty=empty, finish=finish)
        finally:
            self._taking = False
        if raws:
            for each in state.observers:
                tell(each.given, raws, limit, len(state.buffer) if together else 0)
        return raws

    def _may_go_on(self) -> bool:
        return all(tell(each.may_go_on, instead=True) for each in self._pacing)

    @property
    def may_go_ahead(self) -> bool:
        return super().may_go_ahead and self._may_go_on()

    def begins(self, raw: Raw) -> None:
        for each in self.state.observers:
            tell(each.begins, raw)

    def ended(self, raw: Raw, error: BaseException | None) -> None:
        for each in self.state.observers:
            tell(each.ended, raw, error)

    def failed(self, error: BaseException, decision: str) -> None:
        for each in self.state.observers:
            tell(each.failed, error, decision)

    def given_up(self, result: str) -> None:
        for each in self.state.observers:
            tell(each.given_up, result)
