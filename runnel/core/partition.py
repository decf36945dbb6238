"""The state of one held partition: what was read, handed out, finished and committed.

Events move in one direction: `read` fills the buffer, `hand_out` gives events to the handler,
`finish` marks them as finished, and `next_commit` makes one move of the checkpoint from them. While
a commit is in flight, further events are finished; the next commit covers them all.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runnel.core.suspicion import Suspicion
from runnel.protocol import CheckpointMove, ClaimReply, PartitionKeys, Token
from runnel.protocol.ids import reached

#: How many finished events may wait for their commit, in multiples of `prefetch`. Beyond that
#: nothing more is read: while commits get no answer, ever more would be repeated after a crash.
UNCOMMITTED = 10

#: A raw event as it was received: its id, and a list of its fields and values in turn.
Raw = Sequence[Any]


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


class PartitionState:
    """The state of one partition under one token."""

    #: Quarantined or paused: held, but nothing is handed out until it is claimed anew.
    stopped = False
    #: Stopped because an event or the handler has failed for good, and not by an operator.
    quarantined = False
    #: Nothing more is handed out; then the lease is released.
    draining = False
    #: Nothing more is written under the token.
    ended = False
    #: May events be handed out? Once this is False, it stays False.
    open = True
    #: The handler is not running and will not start again under this token.
    handler_ended = False
    #: The current event is being given up, and it is not known yet whether Redis applied that.
    skip_in_flight = False
    #: User code was cancelled but may still be running.
    left_running = False
    #: A commit of this partition is scheduled.
    commit_scheduled = False
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

    def __init__(
        self, partition: int, keys: PartitionKeys, grant: int, token: Token, claimed: ClaimReply
    ) -> None:
        self.partition = partition
        self.keys = keys
        self.grant = grant
        self.token = token
        self.checkpoint = claimed.checkpoint
        self.processed = claimed.processed
        self.suspicion = Suspicion(claimed)
        self.buffer: deque[Raw] = deque()
        #: Events that were handed out and are not finished.
        self.current: Sequence[Raw] = ()
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
        self._finished, self._finished_count = claimed.checkpoint.encode(), 0
        self._snapshot = ClaimSnapshot(self.checkpoint, None, ())
        #: Ids of what was read after `unverified_from`, in order.
        self._unverified: list[bytes] = []
        #: How many of the current events and of those in the buffer are already counted as lost.
        self._lost_ahead = 0
        self._in_flight: CheckpointMove | None = None
        if claimed.quarantined or claimed.paused:
            self.stop(quarantined=bool(claimed.quarantined))
            self.handler_ended = True

    # Closing

    def stop(self, *, quarantined: bool = False) -> None:
        """Hand out nothing more: the partition is quarantined or paused."""
        self.stopped, self.open = True, False
        self.quarantined = quarantined

    @property
    def held_stopped(self) -> bool:
        """Is it held, but nothing is processed until an operator resumes it?"""
        return self.stopped and not self.draining and not self.ended

    def drain(self) -> None:
        """Hand out nothing more, and release the lease once all is committed."""
        self.draining, self.open = True, False

    def end(self) -> None:
        """Write nothing more under the token."""
        self.ended, self.open = True, False

    # Reading

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
        if self._finished_count > UNCOMMITTED * prefetch:
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
                return False
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

    def reclaimed(self, claimed: ClaimReply) -> None:
        """Continue after a repeated claim, which found no loss, or a loss that was accepted.

        Events that were read stay: they existed. The reply says where to continue only if nothing
        changed since the claim was sent.
        """
        self.loss_suspected = False
        before = self._snapshot
        if self.unverified_from is not None and self.unverified_from == before.unverified_from:
            if not claimed.checkpoint_exists:
                self._exclude_lost(claimed.next_id)
            self.unverified_from, self._unverified = None, []
        if self.settled and self.checkpoint == before.checkpoint:
            self.checkpoint = self._cursor = claimed.checkpoint
            self._finished = claimed.checkpoint.encode()
            self._checkpoint_exists, self._next_id = claimed.checkpoint_exists, claimed.next_id
        else:
            self._checkpoint_exists, self._next_id, self.verify_next = True, "", True

    def _exclude_lost(self, next_id: str) -> None:
        """The claim already counted these events as lost; do not count them in a commit, too.

        If the log has a next entry, the events before it are lost. Otherwise all are lost that had
        been read when the claim was sent.
        """
        if next_id:
            unverified = [each.decode() for each in self._unverified]
            gone = [each for each in unverified if not reached(each, next_id)]
        else:
            gone = list(self._snapshot.unverified)
        gone = [each for each in gone if not reached(self.checkpoint, each)]
        self._lost_ahead = max(0, len(gone) - self._finished_count)
        self._finished_count = max(0, self._finished_count - len(gone))

    @property
    def settled(self) -> bool:
        """Is everything that was read finished and committed?"""
        return not self.buffer and not self.current and self.all_committed

    # Handing out

    def hand_out(self, limit: int) -> Sequence[Raw]:
        """Up to `limit` events of the buffer, which are current until `finish` or `rewind`."""
        if self.suspicion.one_by_one:
            limit = 1
        buffer = self.buffer
        raws = [buffer.popleft() for _ in range(min(limit, len(buffer)))]
        self.current = [*self.current, *raws] if self.current else raws
        return raws

    def finish(self, count: int | None = None) -> bool:
        """The current events are finished, or the first `count` of them.

        Returns True if a commit must be scheduled: there may be something to commit, or a task that
        waits until all is committed.
        """
        finished, rest = self.current, self.current[:0]
        if count is not None:
            finished, rest = finished[:count], finished[count:]
        if finished:
            self._finished = finished[-1][0]
            self._finished_count += len(finished)
            if self._lost_ahead:
                lost = min(self._lost_ahead, len(finished))
                self._lost_ahead -= lost
                self._finished_count -= lost
            self.current = rest
            if self.suspicion.careful:
                self.suspicion.survived(self._finished, len(finished))
        return bool(finished) or not self.all_committed

    def rewind(self, keep: int = 0) -> None:
        """The current events, except the first `keep`, were not finished: hand them out again."""
        self.buffer.extendleft(reversed(self.current[keep:]))
        self.current = self.current[:keep]

    @property
    def working_on(self) -> str:
        """The id of the first current event, else of the last uncommitted one, else empty."""
        if self.current:
            text: str = self.current[0][0].decode()
            return text
        return "" if self.all_committed else self._finished.decode()

    # Committing

    @property
    def all_committed(self) -> bool:
        """Is everything that is finished also committed?"""
        return self._in_flight is None and not self._finished_count

    def stuck_at(self, checkpoint: str) -> bool:
        """Does the checkpoint stay at this id until the current events are finished?"""
        return self.all_committed and bool(self.current) and self.checkpoint == checkpoint

    @property
    def uncommitted(self) -> int:
        """How many events are finished and not committed."""
        return self._finished_count

    def next_commit(self) -> CheckpointMove | None:
        """The commit to send now, if any; the same one again until `committed` is called."""
        if self.ended:
            return None
        if self._in_flight is None:
            release = self.draining and self.handler_ended
            if self.unverified_from is not None or not (self._finished_count or release):
                return None
            self._in_flight = CheckpointMove(
                self.checkpoint, self._finished.decode(), self._finished_count, release=release
            )
        return self._in_flight

    def committed(self, move: CheckpointMove) -> None:
        """Redis has applied `move`. If it was sent twice, only the first reply counts."""
        if move != self._in_flight:
            return
        self.checkpoint = move.next
        self.processed += move.count
        self._finished_count -= move.count
        self._in_flight = None
        if move.release:
            self.end()

    def next_skip(self) -> CheckpointMove:
        """The move of the checkpoint past the current event, which is given up.

        Call this only if `all_committed`: the move is sent alone, together with its dead letter.
        """
        self.skip_in_flight = True
        return CheckpointMove(
            self.checkpoint, self.current[0][0].decode(), int(not self._lost_ahead)
        )

    def skipped(self, move: CheckpointMove) -> None:
        """Redis has moved the checkpoint past the current event."""
        self.skip_in_flight = False
        self.finish()
        self._finished_count -= move.count
        self.checkpoint = move.next
        self.processed += move.count
