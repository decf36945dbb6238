"""What is held against the next events of a partition: failures, and workers that died."""

from __future__ import annotations

from runnel.protocol import ClaimReply
from runnel.protocol.ids import reached

#: Unclean tenures in a row after which the start of each event is recorded before it is handed out.
RECORD_AFTER = 3

#: Events that a worker may have had in hand when it died, roughly: so many are handed out with
#: their starts recorded before the partition goes on as ever.
SUSPECTS = 500


class Suspicion:
    """Begins with what a claim tells, and ends with what was under suspicion.

    Where workers have died, events go out one by one, each with its start recorded and its end
    committed before the next, so that no innocent one is blamed.
    """

    def __init__(self, claimed: ClaimReply) -> None:
        #: How often the event with the id `event` has failed, or ended its worker.
        self.attempts = claimed.attempts
        self.event = claimed.event.encode()
        #: How often it ended its worker, in a row.
        self.deaths = claimed.deaths
        died = claimed.tenures >= RECORD_AFTER or claimed.deaths > 0
        #: How many events may still be the reason why workers died.
        self._left = SUSPECTS if died else 0
        #: How many may be why the last one did: each is committed before the next, so that who dies
        #: again does not repeat those before it again.
        self._unsure = SUSPECTS if claimed.tenures else 0
        #: Events up to this id are handed out one at a time, to find the one that fails.
        self._isolate_until: bytes | None = None
        #: Does the next event need more than to be handed out?
        self.careful = died or claimed.attempts > 0 or self.unsure

    @property
    def recorded(self) -> bool:
        """Is the start of the next event to be recorded?"""
        return self._left > 0

    @property
    def unsure(self) -> bool:
        """Is what is finished committed before more is handed out?"""
        return self._unsure > 0 or self.recorded

    @property
    def on_trial(self) -> bool:
        """Has a worker died while it processed the next event? Others may have been the reason, so
        it is to be tried while none of those is."""
        return self.deaths > 0

    @property
    def isolating(self) -> bool:
        """Is one of the next events sought, which fails?"""
        return self._isolate_until is not None

    @property
    def one_by_one(self) -> bool:
        """Is no more than one event at a time handed out?"""
        return self.recorded or self.isolating

    def condemns(self, event: bytes, retries: int) -> bool:
        """Has `event` ended workers more often than it may? One death is no proof."""
        return event == self.event and self.deaths > 1 and self.attempts > retries

    def failed(self, event: bytes) -> int:
        """Count a failure of `event`, which its worker survived. Returns how often it has failed
        now."""
        self.attempts = self.attempts + 1 if event == self.event else 1
        self.event, self.deaths = event, 0
        self.careful = True
        return self.attempts

    def isolate(self, until: bytes) -> None:
        """One of the events up to this one fails: begin their counts anew, each for itself."""
        self._isolate_until, self.attempts, self.deaths = until, 0, 0
        self.careful = True

    def forgive(self) -> None:
        """Failures in other workers count no more; that workers died does."""
        if not self.deaths:
            self.attempts = 0
            self._look()

    def survived(self, done: bytes, count: int) -> None:
        """`count` events more are done, up to the one with the id `done`."""
        until = done.decode()
        if self._isolate_until is not None and reached(until, self._isolate_until.decode()):
            self._isolate_until = None
        self._left, self._unsure = max(0, self._left - count), max(0, self._unsure - count)
        if self.event and reached(until, self.event.decode()):
            if self.deaths:
                self._left = self._unsure = 0  # It was this one, or none.
            self.attempts, self.deaths, self.event = 0, 0, b""
        self._look()

    def _look(self) -> None:
        self.careful = self.one_by_one or self.attempts > 0 or self.unsure
