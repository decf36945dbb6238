"""One held partition: what has been read, handed out, finished and committed.

Events move in one direction: `read` fills the buffer, `hand_out` gives events to the handler,
`finish` takes them as done, and `next_commit` turns what is done into one move of the checkpoint.
While a commit is in flight what is finished gathers; the next commit covers it all.
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

#: Finished events that may wait for their commit, in multiples of `prefetch`. Beyond that
#: nothing more is read: while commits are not answered, a crash would have ever more to repeat.
UNCOMMITTED = 10

#: A raw event as it comes off the wire: its id, and a list of its fields and values in turn.
Raw = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read next: entries behind `cursor`. `look` asks for a look at the entry there in the
    same round trip; without it the look may come later, before anything read is committed."""

    cursor: str
    look: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a partition was when a claim was repeated: its checkpoint, its doubt, and what was read
    behind that."""

    checkpoint: str
    unverified_from: str | None
    unverified: tuple[str, ...]


class PartitionState:
    """The state of one partition under one token."""

    #: Quarantined or paused: held, but nothing is handed out until it is claimed anew.
    paused = False
    #: Parked because of an event, and not by an operator.
    quarantined = False
    #: Wanted elsewhere: nothing more is handed out, then the lease is released.
    draining = False
    #: The token is spent: released, or fenced by another.
    over = False
    #: May events be handed out? Once closed, a partition stays closed.
    open = True
    #: The handler is not running and will not start again under this token.
    idle = False
    #: The event in hand is given up, and nobody knows yet whether Redis has heard of it.
    giving_up = False
    #: User code was cancelled, and may run on all the same.
    left_running = False
    #: It is known to have something to commit.
    commit_scheduled = False
    #: A repeated claim for it is under way.
    claiming = False
    #: It counts what is there: what is read meanwhile could count as lost and be processed.
    counting = False
    #: A read for it is under way.
    reading = False
    #: More is read once no more than so many events wait: memory has a bound.
    enough = sys.maxsize
    #: What one of its events takes in memory, and whether those that come next are likely to.
    entry_bytes, sized = 0.0, False
    #: The last read brought something.
    flowing = False

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
        self.in_hand: Sequence[Raw] = ()
        #: A cursor behind which events were read before anybody looked whether its entry was
        #: there: until then nothing is committed.
        self.unverified_from: str | None = None
        #: The next read is to look at the cursor: there is much to read, or reason to worry.
        self.verify_next = True
        self._cursor = claimed.checkpoint
        self._checkpoint_exists = claimed.checkpoint_exists
        self._next_id = claimed.next_id
        #: Events behind the cursor may have been lost: it must be claimed again.
        self.suspect = False
        self._done, self._done_count = claimed.checkpoint.encode(), 0
        #: What was known when a repeated claim was sent.
        self._asked = Asked(self.checkpoint, None, ())
        #: Ids of what was read behind the doubt, in order, as long as there is one.
        self._unverified: list[bytes] = []
        #: How many of the events in hand and in the buffer have been counted as lost already.
        self._lost_ahead = 0
        self._in_flight: CheckpointMove | None = None
        if claimed.quarantined or claimed.paused:
            self.pause(quarantined=bool(claimed.quarantined))
            self.idle = True

    # Closing

    def pause(self, *, quarantined: bool = False) -> None:
        """Hand out nothing more: the partition is quarantined or paused."""
        self.paused, self.open = True, False
        self.quarantined = quarantined

    @property
    def resting(self) -> bool:
        """Is it held without work, until an operator resumes it?"""
        return self.paused and not self.draining and not self.over

    def drain(self) -> None:
        """Hand out nothing more, and release once all is committed."""
        self.draining, self.open = True, False

    def end(self) -> None:
        """The token is spent: nothing more can be written under it."""
        self.over, self.open = True, False

    # Reading

    def full(self, prefetch: int) -> bool:
        """Is there so much in the buffer that nothing is read before some of it is handed out?"""
        return len(self.buffer) > min(prefetch, self.enough)

    def wants(self, prefetch: int) -> Wanted | None:
        """What to read, or None while there is enough in the buffer, too much to commit, or nothing
        is handed out.

        Enough is more than one read brings: what was read is handled while Redis carries out the
        next read.
        """
        if not self.open or self.suspect or self.counting or self.full(prefetch):
            return None
        if self._done_count > UNCOMMITTED * prefetch:
            return None
        return Wanted(
            self._cursor, self._checkpoint_exists and (self.verify_next or not self.at_rest)
        )

    def read(self, asked: Wanted, entries: Sequence[Raw], anchor: bool, full: bool = False) -> bool:
        """Take in what a read brought; `anchor` says if the entry at the cursor was seen, `full`
        that there may be more.

        Returns False if entries behind the cursor may have been lost: then nothing more is read,
        and the partition must be claimed again, which counts the loss.
        """
        if asked.cursor != self._cursor or self.counting or not self.open:
            return True  # Rewound, claimed or closed meanwhile: this read is of no use.
        if asked.look:
            if not anchor:
                self.suspect = True
                return False
            self.verify_next = False
        if not entries:
            return True
        told = True
        if self._next_id:
            if entries[0][0].decode() != self._next_id:
                self.suspect = True
                return False
        elif not asked.look:
            # All before it was committed when this was asked for.
            self.unverified_from = asked.cursor
            if not self._checkpoint_exists:
                # There was no entry at the cursor to look at: only a claim can tell.
                self.suspect, told = True, False
        if self.unverified_from is not None:
            self._unverified += [entry[0] for entry in entries]
        self.buffer.extend(entries)
        self._cursor = entries[-1][0].decode()
        self._checkpoint_exists = True
        self._next_id = ""
        self.verify_next = full
        return told

    def verified(self, unverified_from: str, there: bool) -> bool:
        """Take in a look at the entry of a doubt. Returns False if it was gone."""
        if not there:
            self.suspect = True
        elif unverified_from == self.unverified_from:
            self.unverified_from, self._unverified = None, []
        return there

    def ask(self) -> None:
        """Note what is known now, for the answer to a repeated claim that is about to be sent."""
        unverified = tuple(each.decode() for each in self._unverified)
        self._asked = Asked(self.checkpoint, self.unverified_from, unverified)
        self.counting = self.unverified_from is None

    def reclaimed(self, claimed: ClaimReply) -> None:
        """Go on from a repeated claim, after a loss was found and accepted or proved none.

        What was read stays: it was there. Only if nothing moved since the claim was sent does the
        answer say where to go on.
        """
        self.suspect = False
        if self.unverified_from is not None and self.unverified_from == self._asked.unverified_from:
            if not claimed.checkpoint_exists:
                self._count_once(claimed.next_id)
            self.unverified_from, self._unverified = None, []
        if self.at_rest and self.checkpoint == self._asked.checkpoint:
            self.checkpoint = self._cursor = claimed.checkpoint
            self._done = claimed.checkpoint.encode()
            self._checkpoint_exists, self._next_id = claimed.checkpoint_exists, claimed.next_id
        else:
            self._checkpoint_exists, self._next_id, self.verify_next = True, "", True

    def _count_once(self, next_id: str) -> None:
        """What was read behind the doubt and was gone at the claim is counted as lost: not twice.

        If anything was left there, what came before that was gone. Else all was that had been read
        when the claim was sent.
        """
        if next_id:
            unverified = [each.decode() for each in self._unverified]
            gone = [each for each in unverified if not reached(each, next_id)]
        else:
            gone = list(self._asked.unverified)
        gone = [each for each in gone if not reached(self.checkpoint, each)]
        self._lost_ahead = max(0, len(gone) - self._done_count)
        self._done_count = max(0, self._done_count - len(gone))

    @property
    def at_rest(self) -> bool:
        """Is everything that was read finished and committed?"""
        return not self.buffer and not self.in_hand and self.clean

    # Handing out

    def hand_out(self, limit: int) -> Sequence[Raw]:
        """Give out up to `limit` buffered events more; they are in hand until `finish` or
        `rewind`."""
        if self.suspicion.one_by_one:
            limit = 1
        buffer = self.buffer
        raws = [buffer.popleft() for _ in range(min(limit, len(buffer)))]
        self.in_hand = [*self.in_hand, *raws] if self.in_hand else raws
        return raws

    def finish(self, count: int | None = None) -> bool:
        """The events in hand are done, or the first `count` of them. Returns True if the committer
        is to have a look: there may be something to commit, or somebody who waits until there is
        nothing."""
        hand, rest = self.in_hand, self.in_hand[:0]
        if count is not None:
            hand, rest = hand[:count], hand[count:]
        if hand:
            self._done = hand[-1][0]
            self._done_count += len(hand)
            if self._lost_ahead:
                lost = min(self._lost_ahead, len(hand))
                self._lost_ahead -= lost
                self._done_count -= lost
            self.in_hand = rest
            if self.suspicion.careful:
                self.suspicion.survived(self._done, len(hand))
        return bool(hand) or not self.clean

    def rewind(self, keep: int = 0) -> None:
        """The events in hand, but for the first `keep`, were not finished: the next one handed out
        is the first of them."""
        self.buffer.extendleft(reversed(self.in_hand[keep:]))
        self.in_hand = self.in_hand[:keep]

    @property
    def at_work(self) -> str:
        """The event in hand, or the last one whose end nobody knows of yet; empty if there is
        none."""
        if self.in_hand:
            text: str = self.in_hand[0][0].decode()
            return text
        return "" if self.clean else self._done.decode()

    # Committing

    @property
    def clean(self) -> bool:
        """Is everything finished also committed?"""
        return self._in_flight is None and not self._done_count

    def stuck_at(self, checkpoint: str) -> bool:
        """Is this where the checkpoint stays until what is in hand is finished?"""
        return self.clean and bool(self.in_hand) and self.checkpoint == checkpoint

    @property
    def uncommitted(self) -> int:
        """How many events are finished and not committed."""
        return self._done_count

    def next_commit(self) -> CheckpointMove | None:
        """The commit to send now, if any; the same one again until `committed` is told."""
        if self.over:
            return None
        if self._in_flight is None:
            release = self.draining and self.idle
            if self.unverified_from is not None or not (self._done_count or release):
                return None
            self._in_flight = CheckpointMove(
                self.checkpoint, self._done.decode(), self._done_count, release=release
            )
        return self._in_flight

    def committed(self, step: CheckpointMove) -> None:
        """Redis has applied `step`. Of one that was sent twice only the first answer counts."""
        if step != self._in_flight:
            return
        self.checkpoint = step.next
        self.processed += step.count
        self._done_count -= step.count
        self._in_flight = None
        if step.release:
            self.end()

    def set_aside(self) -> CheckpointMove:
        """The move of the checkpoint over the event in hand, when it is given up.

        Only when `clean`: it goes out alone, together with its dead letter.
        """
        self.giving_up = True
        return CheckpointMove(
            self.checkpoint, self.in_hand[0][0].decode(), int(not self._lost_ahead)
        )

    def finish_aside(self, step: CheckpointMove) -> None:
        """The event in hand was given up, and Redis has moved the checkpoint over it."""
        self.giving_up = False
        self.finish()
        self._done_count -= step.count
        self.checkpoint = step.next
        self.processed += step.count
