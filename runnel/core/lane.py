"""One held partition: what has been read, handed out, finished and committed.

Events move in one direction: `read` fills the buffer, `hand_out` gives events to the handler,
`finish` takes them as done, and `next_commit` turns what is done into one move of the checkpoint.
While a commit is in flight what is finished gathers; the next commit covers it all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from runnel.protocol import Claimed, Step, Token

#: Unclean tenures in a row after which the start of each event is recorded before it is handed out.
RECORD_AFTER = 3

#: A raw event: its id, and its fields and values in turn.
Raw = tuple[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read next: entries behind `cursor`, and whether to look at the one there."""

    cursor: str
    look: bool


class Lane:
    """The state of one partition under one token."""

    def __init__(self, partition: int, grant: int, token: Token, claimed: Claimed) -> None:
        self.partition = partition
        self.grant = grant
        self.token = token
        self.checkpoint = claimed.checkpoint
        self.processed = claimed.processed
        self.attempts = claimed.attempts
        self.event = claimed.event
        #: Workers have died here: for this tenure events go out one by one, each with its start
        #: recorded and its end committed before the next, so that no innocent one is blamed.
        self.recorded = claimed.tenures >= RECORD_AFTER or claimed.attempts > 0
        #: Quarantined or paused: held, but nothing is handed out until it is claimed anew.
        self.parked = claimed.quarantined or claimed.paused
        #: Wanted elsewhere: nothing more is handed out, then the lease is released.
        self.draining = False
        #: The handler is not running and will not start again under this token.
        self.idle = self.parked
        #: The token is spent: released, or fenced by another.
        self.over = False
        self.buffer: deque[Raw] = deque()
        self.in_hand: list[Raw] = []
        #: Events up to this id are handed out one at a time, to find the one that fails.
        self.isolate_until: str | None = None
        self._cursor = claimed.checkpoint
        self._anchored = claimed.anchored
        self._following = claimed.following
        self._done = claimed.checkpoint
        self._done_count = 0
        self._in_flight: Step | None = None

    # Reading

    def wants(self, prefetch: int) -> Wanted | None:
        """What to read, or None while there is enough in the buffer or nothing is handed out."""
        if self.draining or self.parked or self.over or len(self.buffer) * 2 > prefetch:
            return None
        return Wanted(self._cursor, self._anchored)

    def read(self, asked: Wanted, entries: Sequence[Raw], anchor: bool) -> bool:
        """Take in what a read brought; `anchor` says if the entry at the cursor was there.

        Returns False, and takes in nothing, if entries behind the cursor may have been lost:
        then the partition must be claimed again, which counts the loss.
        """
        if asked.cursor != self._cursor:
            return True  # Rewound meanwhile: this read is of no use, the next one will be.
        if asked.look and not anchor:
            return False
        if not entries:
            return True
        if not asked.look and self._following and entries[0][0] != self._following:
            return False
        self.buffer.extend(entries)
        self._cursor = entries[-1][0]
        self._anchored = True
        self._following = ""
        return True

    def reclaimed(self, claimed: Claimed, asked_at: str) -> None:
        """Go on from a repeated claim, after a loss was found and accepted or proved none.

        `asked_at` is the checkpoint when it was sent. What was read stays: it was there. Only if
        nothing moved meanwhile does the answer say where to go on.
        """
        if self.at_rest and self.checkpoint == asked_at:
            self.checkpoint = self._done = self._cursor = claimed.checkpoint
            self._anchored, self._following = claimed.anchored, claimed.following
        else:
            self._anchored, self._following = False, ""

    @property
    def at_rest(self) -> bool:
        """Is everything that was read finished and committed?"""
        return not self.buffer and not self.in_hand and self.clean

    # Handing out

    @property
    def open(self) -> bool:
        """May events be handed out?"""
        return not (self.draining or self.parked or self.over)

    def hand_out(self, limit: int) -> list[Raw]:
        """Give out up to `limit` buffered events; they are in hand until `finish` or `rewind`."""
        if self.recorded or self.isolate_until is not None:
            limit = 1
        self.in_hand = [self.buffer.popleft() for _ in range(min(limit, len(self.buffer)))]
        return self.in_hand

    def finish(self) -> bool:
        """The events in hand are done. Returns True if there is something to commit."""
        if self.in_hand:
            self._done = self.in_hand[-1][0]
            self._done_count += len(self.in_hand)
            if self.isolate_until is not None and self._done == self.isolate_until:
                self.isolate_until = None
            if self.attempts:
                self.attempts, self.event = 0, ""
            self.in_hand = []
        return not self.clean

    def rewind(self) -> None:
        """The events in hand were not finished: the next one handed out is the first of them."""
        self.buffer.extendleft(reversed(self.in_hand))
        self.in_hand = []

    def failed(self, event: str) -> int:
        """Count a failure of `event`. Returns how often it has failed now."""
        self.attempts = self.attempts + 1 if event == self.event else 1
        self.event = event
        return self.attempts

    # Committing

    @property
    def clean(self) -> bool:
        """Is everything finished also committed?"""
        return self._in_flight is None and self._done == self.checkpoint

    def next_commit(self) -> Step | None:
        """The commit to send now, if any; the same one again until `committed` is told."""
        if self.over:
            return None
        if self._in_flight is None:
            release = self.draining and self.idle
            if self._done == self.checkpoint and not release:
                return None
            self._in_flight = Step(self.checkpoint, self._done, self._done_count, release)
        return self._in_flight

    def committed(self, step: Step) -> None:
        """Redis has applied `step`."""
        self.checkpoint = step.next
        self.processed += step.count
        self._done_count -= step.count
        self._in_flight = None
        if step.release:
            self.over = True

    def set_aside(self) -> Step:
        """The move of the checkpoint over the event in hand, when it is given up.

        Only when `clean`: it goes out alone, together with its dead letter.
        """
        return Step(self.checkpoint, self.in_hand[0][0], 1)

    def finish_aside(self, step: Step) -> None:
        """The event in hand was given up, and Redis has moved the checkpoint over it."""
        self.finish()
        self._done_count -= step.count
        self.checkpoint = step.next
        self.processed += step.count
