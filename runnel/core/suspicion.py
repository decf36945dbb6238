"""Knows which of the next events of a partition may be the reason for failures or dead workers."""

from __future__ import annotations

from runnel.protocol import ClaimReply
from runnel.protocol.ids import reached

#: Unclean tenures in a row after which the start of each event is recorded before it is handed out.
RECORD_AFTER = 3

#: So many events are handed out with their starts recorded before the partition returns to normal:
#: roughly as many as a worker may have handed out and not committed when it died.
SUSPECTS = 500


class Suspicion:
    """Starts from what the claim replied, and ends when the suspected events are finished.

    After one unclean tenure, each event is committed before the next one is handed out. After
    `RECORD_AFTER` of them, or one while a start was recorded, the start of each event is recorded
    in Redis before the handler gets it. So no innocent event is blamed.
    """

    def __init__(self, claimed: ClaimReply) -> None:
        #: How often the event with the id `event` has failed, or killed its worker.
        self.attempts = claimed.attempts
        self.event = claimed.event.encode()
        #: How often it killed its worker, in a row.
        self.deaths = claimed.deaths
        died = claimed.unclean_tenures >= RECORD_AFTER or claimed.deaths > 0
        #: How many of the next events may be the reason why workers died.
        self._left = SUSPECTS if died else 0
        #: How many of them may be the reason why the last one died. Each is committed before the
        #: next, so that after another death those before it are not repeated once more.
        self._commit_first = SUSPECTS if claimed.unclean_tenures else 0
        #: Events up to this id are handed out one at a time, to find the one that fails.
        self._isolate_until: bytes | None = None
        #: Must the next event be handed out with one of the precautions below?
        self.careful = died or claimed.attempts > 0 or self.commit_first

    @property
    def recorded(self) -> bool:
        """Is the start of the next event to be recorded?"""
        return self._left > 0

    @property
    def commit_first(self) -> bool:
        """Must the finished events be committed before more are handed out?"""
        return self._commit_first > 0 or self.recorded

    @property
    def alone(self) -> bool:
        """Did a worker die while it processed the next event? Then this worker processes no other
        such event at the same time, if none takes long: after another death it is known which one
        was the reason."""
        return self.deaths > 0

    @property
    def isolating(self) -> bool:
        """Did a batch fail, so that its events are tried one by one to find the one that fails?"""
        return self._isolate_until is not None

    @property
    def one_by_one(self) -> bool:
        """Must events be handed out one at a time?"""
        return self.recorded or self.isolating

    def kills_workers(self, event: bytes, retries: int) -> bool:
        """Has `event` killed workers more often than it may? One death proves nothing."""
        return event == self.event and self.deaths > 1 and self.attempts > retries

    def failed(self, event: bytes) -> int:
        """Count a failure of `event` that its worker survived. Returns how often it has failed."""
        self.attempts = self.attempts + 1 if event == self.event else 1
        self.event, self.deaths = event, 0
        self.careful = True
        return self.attempts

    def isolate(self, until: bytes) -> None:
        """One of the events up to this id fails: try them one by one, with new counts."""
        self._isolate_until, self.attempts, self.deaths = until, 0, 0
        self.careful = True

    def forget_failures(self) -> None:
        """Forget failures in other workers, but not the deaths of workers."""
        if not self.deaths:
            self.attempts = 0
            self._update()

    def survived(self, done: bytes, count: int) -> None:
        """`count` more events are finished, up to the one with the id `done`."""
        until = done.decode()
        if self._isolate_until is not None and reached(until, self._isolate_until.decode()):
            self._isolate_until = None
        self._left, self._commit_first = (
            max(0, self._left - count),
            max(0, self._commit_first - count),
        )
        if self.event and reached(until, self.event.decode()):
            if self.deaths:
                self._left = self._commit_first = 0  # This event was the reason, or none was.
            self.attempts, self.deaths, self.event = 0, 0, b""
        self._update()

    def _update(self) -> None:
        self.careful = self.one_by_one or self.attempts > 0 or self.commit_first
