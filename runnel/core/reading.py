"""What was read of one held partition, and what may be read next.

The reply of XREAD does not show that a log has lost events. So the entry at the cursor is verified:
with the read, or later, but before anything that was read after it is committed.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from runnel.protocol import ClaimReply
from runnel.protocol.ids import reached

#: How many finished events may wait for their commit, in multiples of `prefetch`. Beyond that
#: nothing more is read: while commits get no answer, ever more would be repeated after a crash.
UNCOMMITTED = 10

#: A raw event as it was received: its id, and a list of its fields and values in turn. If it was
#: decoded when it was read, its record is the third item, until a handler gets it.
Raw = list[Any]
R = TypeVar("R")


def record_of(raw: Raw, decode: Callable[[Sequence[bytes]], R]) -> R:
    """The record of an event. Each is given out once: a handler may change what it gets, and its
    next attempt must not see that."""
    if len(raw) > 2:
        try:
            record: R = raw.pop(2)
            return record
        except IndexError:  # Another thread was faster.
            pass
    return decode(raw[1])


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What to read next: the entries after `cursor`.

    If `verify` is set, also fetch the entry at `cursor`, to prove that it still exists. Otherwise
    this may happen later, but before anything that was read is committed.
    """

    cursor: str
    verify: bool


@dataclass(frozen=True, slots=True)
class ClaimSnapshot:
    """What was known before the partition was reclaimed, to interpret the reply: the
    checkpoint, the unverified cursor, and the ids that were read after it."""

    checkpoint: str
    unverified_from: str | None
    unverified: tuple[str, ...]


class Reading(ABC):
    """The reading side of a partition's state. `PartitionState` adds what was handed out, finished
    and committed."""

    #: May events be handed out? Once this is False, it stays False.
    open = True
    #: The partition is being reclaimed: see `runnel.worker`.
    reclaiming = False
    #: That claim counts entries: nothing is read until its reply, or an event could count twice.
    counting = False
    #: A read of this partition is in flight.
    reading = False
    #: No more is read while the buffer has more events than this, so that memory is bounded.
    buffer_limit = sys.maxsize
    #: The memory that one of its events takes, and whether that estimate may be used.
    entry_bytes, size_known = 0.0, False
    #: The last read brought events.
    active = False
    #: How often in a row a read did not begin with the event that the claim before it had named.
    contradictions = 0
    #: Parked events are replayed, and the log is not read before that is over.
    replaying = False

    def __init__(self, claimed: ClaimReply) -> None:
        self.checkpoint = claimed.checkpoint
        self.buffer: deque[Raw] = deque()
        #: A cursor after which events were read before it was verified that its entry exists.
        #: Nothing is committed until then.
        self.unverified_from: str | None = None
        #: The next read must verify the cursor: much is left to read, or a loss is possible.
        self.verify_next = True
        self._cursor = claimed.checkpoint
        self._checkpoint_exists = claimed.checkpoint_exists
        self._next_id = claimed.next_id
        #: Events after the cursor may have been lost: the partition must be reclaimed.
        self.loss_suspected = False
        self._snapshot = ClaimSnapshot(self.checkpoint, None, ())
        #: Ids of what was read after `unverified_from`, in order.
        self._unverified: list[bytes] = []

    @property
    @abstractmethod
    def settled(self) -> bool:
        """Is everything that was read finished and committed?"""

    @property
    @abstractmethod
    def uncommitted(self) -> int:
        """How many events are finished and not committed."""

    def full(self, prefetch: int) -> bool:
        """Does the buffer have so many events that some must be handed out before the next read?"""
        return len(self.buffer) > min(prefetch, self.buffer_limit)

    def next_read(self, prefetch: int) -> ReadRequest | None:
        """What to read, or None while the buffer has enough, too much is uncommitted, or nothing is
        handed out.

        Enough is more than one read brings: handlers process those events while Redis carries out
        the next read.
        """
        if not self.open or self.loss_suspected or self.counting or self.full(prefetch):
            return None
        if self.replaying:
            return None
        if self.uncommitted > UNCOMMITTED * prefetch:
            return None
        verify = self._checkpoint_exists and (self.verify_next or not self.settled)
        return ReadRequest(self._cursor, verify)

    def take_in(
        self, request: ReadRequest, entries: Sequence[Raw], cursor_exists: bool, more: bool = False
    ) -> bool:
        """Take in what a read brought. `cursor_exists` says if the entry at the cursor was found,
        `more` that the log may have more entries.

        Returns False if entries after the cursor may have been lost. Then nothing more is read, and
        the partition must be reclaimed, which counts the loss.
        """
        if request.cursor != self._cursor or self.counting or not self.open:
            return True  # It was rewound, reclaimed or stopped meanwhile: drop this read.
        if request.verify:
            if not cursor_exists:
                self.loss_suspected = True
                return False
            self.verify_next = False
        if not entries:
            return True
        nothing_lost = True
        if self._next_id:
            if entries[0][0].decode() != self._next_id:
                self.loss_suspected = True
                self.contradictions += 1
                return False
            self.contradictions = 0
        elif not request.verify:
            # All events before these were committed when this read was sent.
            self.unverified_from = request.cursor
            if not self._checkpoint_exists:
                # The log has no entry at the cursor that could be verified: only a claim can tell.
                self.loss_suspected, nothing_lost = True, False
        if self.unverified_from is not None:
            self._unverified += [entry[0] for entry in entries]
        self.buffer.extend(entries)
        self._cursor = entries[-1][0].decode()
        self._checkpoint_exists = True
        self._next_id = ""
        self.verify_next = more
        return nothing_lost

    def shrink(self) -> None:
        """Nothing is handed out any more, and events were given back: keep no more than may wait in
        memory."""
        while len(self.buffer) > max(1, self.buffer_limit):
            self.buffer.pop()

    def verified(self, unverified_from: str, exists: bool) -> bool:
        """Take in whether the entry at `unverified_from` exists. Returns False if it does not."""
        if not exists:
            self.loss_suspected = True
        elif unverified_from == self.unverified_from:
            self.unverified_from, self._unverified = None, []
        return exists

    def before_reclaim(self) -> None:
        """Take the snapshot that `reclaimed` needs: the partition is about to be reclaimed."""
        unverified = tuple(each.decode() for each in self._unverified)
        self._snapshot = ClaimSnapshot(self.checkpoint, self.unverified_from, unverified)
        self.counting = self.unverified_from is None

    def gone_before(self, next_id: str) -> list[str]:
        """Ids of what was read after the unverified cursor, and that the log has lost, according to
        the reply of the claim. If the log has a next entry, the events before it are lost.
        Otherwise all are lost that had been read when the claim was sent.
        """
        if next_id:
            unverified = [each.decode() for each in self._unverified]
            gone = [each for each in unverified if not reached(each, next_id)]
        else:
            gone = list(self._snapshot.unverified)
        return [each for each in gone if not reached(self.checkpoint, each)]
