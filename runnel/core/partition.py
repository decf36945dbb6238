"""The state of one held partition: what was read, handed out, finished and committed.

Events move in one direction: `read` fills the buffer, `hand_out` gives events to the handler,
`finish` marks them as finished, and `next_commit` makes one move of the checkpoint from them. While
a commit is in flight, further events are finished; the next commit covers them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runnel.core.parking import ParkedRaw, Parking, ParkingState
from runnel.core.pending_effects import Emitted, PendingEffects
from runnel.core.reading import Raw
from runnel.core.suspicion import Suspicion
from runnel.core.table_state import Field, TableState
from runnel.protocol import (
    CheckpointMove,
    ClaimReply,
    Entries,
    Entry,
    OutboxEntries,
    PartitionKeys,
    Sink,
    Token,
    commit,
    transact,
)
from runnel.protocol.scripts import Call


class PartitionState(ParkingState):
    """The state of one partition under one token."""

    def __init__(
        self,
        partition: int,
        keys: PartitionKeys,
        grant: int,
        token: Token,
        claimed: ClaimReply,
        tables: Sequence[str] = (),
        expire: Mapping[str, int] | None = None,
        *,
        one_slot: bool = False,
        parking: Parking | None = None,
    ) -> None:
        self.partition = partition
        self.keys = keys
        self.grant = grant
        self.token = token
        super().__init__(claimed, parking or Parking())
        self.processed = claimed.processed
        self.suspicion = Suspicion(claimed)
        self._finished_count = 0
        #: How many of the current events and of those in the buffer are already counted as lost.
        self._lost_ahead = 0
        #: Do emitted entries for other slots go to the outbox? Also while older ones wait there:
        #: else they would be overtaken.
        self.to_outbox = one_slot or claimed.outbox > 0
        self.outbox_waits = claimed.outbox > 0
        #: Have commits under this token written to the outbox?
        self._wrote_outbox = False
        #: What the handler writes besides the checkpoint, once it may: a handler without tables
        #: that emits nothing pays nothing for it.
        self.effects = PendingEffects(keys, tables, self.to_outbox, expire) if tables else None
        #: The tables that the handler reads and writes, if there are any.
        self.tables: TableState | None = self.effects.tables if self.effects else None
        self._in_flight: CheckpointMove | None = None
        #: Why Redis refuses what the handler has written, and would refuse it again.
        self.refused: Exception | None = None
        self.refusal_told = False
        if claimed.quarantined or claimed.paused:
            self.stop(quarantined=bool(claimed.quarantined))
            self.handler_ended = True

    # Closing: see `Lifecycle`

    def refuse(self, error: Exception) -> None:
        """Redis refuses what the handler has written. Nothing of it is committed, nor anything
        after it; then the lease is released."""
        self.refused = error
        self.drop_finished()
        self.drain()

    def drop_finished(self) -> None:
        """Commit nothing more of what is finished: the next owner processes it again."""
        self._in_flight = None
        if self.effects is not None:
            self.effects.drop_steps()
        self._finished, self._finished_count = self.checkpoint.encode(), 0

    # Reading: see `Reading`

    def reclaimed(self, claimed: ClaimReply) -> None:
        """Continue after a repeated claim, which found no loss, or a loss that was accepted.

        Events that were read stay: they existed. But none that the log has lost may write anything
        besides the checkpoint, because its producer may send it again: a primary that was replaced
        shows events for a moment that no other server has. Then the lease ends. The reply says
        where to continue only if nothing changed since the claim was sent.
        """
        self.loss_suspected = False
        before = self._snapshot
        if self.unverified_from is not None and self.unverified_from == before.unverified_from:
            if not claimed.checkpoint_exists:
                gone = self.gone_before(claimed.next_id)
                self._exclude_lost(gone)
                if gone and self.effects is not None:
                    self.end()
            self.unverified_from, self._unverified = None, []
        if self.settled and self.checkpoint == before.checkpoint:
            went_back = claimed.checkpoint != self.checkpoint
            if self.effects is not None and went_back:
                # The server has lost commits, so what they wrote is lost, too.
                self.effects.forget_all()
            if went_back and self.keys_parked:
                self.drain()  # Some of them may not be parked any more.
            self.checkpoint = self._cursor = claimed.checkpoint
            self._finished = claimed.checkpoint.encode()
            self._checkpoint_exists, self._next_id = claimed.checkpoint_exists, claimed.next_id
            if went_back and self._wrote_outbox:
                # Other entries would get the ids of entries that were lost, and that targets have.
                self.drain()
        else:
            self._checkpoint_exists, self._next_id, self.verify_next = True, "", True

    def _exclude_lost(self, gone: Sequence[str]) -> None:
        """The claim already counted these events as lost; do not count them in a commit, too."""
        self._lost_ahead = max(0, len(gone) - self._finished_count)
        self._finished_count = max(0, self._finished_count - len(gone))

    @property
    def settled(self) -> bool:
        """Is everything that was read finished and committed?"""
        return not (self.buffer or self.current or self.replaying) and self.all_committed

    # Handing out

    def hand_out(self, limit: int) -> Sequence[Raw]:
        """Up to `limit` events of the buffer, which are current until `finish` or `rewind`."""
        if self.suspicion.one_by_one:
            limit = 1
        buffer = self.buffer
        if self.keys_parked:
            raws = self._take(limit)
        else:
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
        if self.refused is not None:
            self.current = rest
            return False
        if finished:
            if self.effects is not None:
                self.effects.tables.write_back()  # It may raise: then nothing is finished.
            self.current = rest
            if not self.keys_parked:
                self._advance(finished[-1], len(finished))
                if self.effects is not None:
                    self.effects.finished(self._finished, len(finished))
            elif isinstance(finished[0], ParkedRaw):
                self._finish_replayed(finished)
            else:
                self._finish_between_parked(finished)
            if self.suspicion.careful:
                self.suspicion.survived(finished[-1][0], len(finished))
            if self.parking.aside:
                self._park_aside()
        return bool(finished) or not self.all_committed

    def _finish_between_parked(self, finished: Sequence[Raw]) -> None:
        """Events of parked keys that were set aside between these are parked in the same commit."""
        last, parking = finished[-1], self.parking
        between = [parking.add(each) for each in parking.before(last)] if parking.aside else []
        count = len(finished) + len(between)
        self._advance(last, count)
        if self.effects is not None or between:
            self._writes().finished(last[0], count, between, most_parked=parking.limit)

    def _advance(self, last: Raw, count: int) -> None:
        self._finished = last[0]
        self._finished_count += count
        if self._lost_ahead:
            lost = min(self._lost_ahead, count)
            self._lost_ahead -= lost
            self._finished_count -= lost

    def rewind(self, keep: int = 0) -> None:
        """The current events, except the first `keep`, were not finished: hand them out again.

        If some are kept, what was written stays: it may be theirs.
        """
        if not keep:
            self.undo()
        back, self.current = self.current[keep:], self.current[:keep]
        if self._back_to_due(back):
            return
        if self.parking.aside:
            back = self.parking.back(self.current, back)
        self.buffer.extendleft(reversed(back))

    def undo(self, *, sealed: bool = True) -> None:
        """Undo what the handler has written for its current events; without `sealed`, not for those
        with which it is done."""
        if self.effects is not None:
            self.effects.undo(sealed=sealed)

    @property
    def overloaded(self) -> bool:
        """Does so much wait for commits that no further event may be handed out?"""
        return self.effects is not None and self.effects.full

    def emit(self, sink: Sink, entry: Entry) -> None:
        """Add an entry to the sink, with the commit of the current events. Raises TooManyWrites."""
        self._writes().emit(sink, entry)

    def _writes(self) -> PendingEffects:
        if self._lost_ahead:
            self.end()  # What is written for an event that the log has lost: see `reclaimed`.
        return super()._writes()

    def adopt(
        self, writes: Mapping[Field, bytes | None], size: int, emitted: Sequence[Emitted]
    ) -> None:
        """The event that `finish` finishes next has written this: see `core.own_effects`."""
        self._writes().adopt(writes, size, emitted)

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
        return self._in_flight is None and not self._finished_count and not self._replay_waits

    @property
    def _replay_waits(self) -> bool:
        """Is there something to commit even if the checkpoint stays?"""
        return self.effects is not None and self.effects.replays

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
            release = self.draining and self.handler_ended and not self.forwarding
            replays = self._replay_waits
            if self.unverified_from is not None or not (self._finished_count or release or replays):
                return None
            self._in_flight = CheckpointMove(
                self.checkpoint, self._finished.decode(), self._finished_count, release=release
            )
            stays = self._in_flight.next == self.checkpoint and not replays
            if stays or self.effects is None:
                return self._in_flight  # To release moves nothing, and so it writes nothing.
            if part := self.effects.begin_commit():
                end, later = part
                count = max(0, self._finished_count - later)
                self._in_flight = CheckpointMove(self.checkpoint, end.decode(), count)
            # An outbox is forwarded before the release. A replay is no repeat of a release.
            if self._in_flight.release and (replays or self.fills_outbox):
                self._in_flight = replace(self._in_flight, release=False)
        return self._in_flight

    @property
    def fills_outbox(self) -> bool:
        """Does the commit in flight write to the outbox?"""
        writes = self.effects.in_flight if self.effects is not None else ()
        return any(isinstance(each, OutboxEntries) for each in writes)

    def commit_call(self, move: CheckpointMove) -> Call:
        """The call for what `next_commit` returned."""
        if self.effects is not None and (effects := self.effects.in_flight):
            return transact(self.keys, self.token, move, effects)
        return commit(self.keys, self.token, move)

    def declarations(self, sink: str) -> Sequence[Call]:
        """The calls that declare the stream with this log, to which the commit in flight writes."""
        for each in self.effects.in_flight if self.effects is not None else ():
            if isinstance(each, Entries) and each.sink.log == sink:
                return each.sink.declarations()
        return ()

    def committed(self, move: CheckpointMove) -> None:
        """Redis has applied `move`. If it was sent twice, only the first reply counts."""
        if move != self._in_flight:
            return
        self.checkpoint = move.next
        self.processed += move.count
        self._finished_count -= move.count
        self._in_flight = None
        if self.effects is not None:
            self._wrote_outbox |= self.fills_outbox
            self.effects.committed()
        if move.release:
            self.end()

    def next_skip(self) -> CheckpointMove:
        """The move of the checkpoint past the current event, which is given up.

        Call this only if `all_committed`: the move is sent alone, together with its dead letter.
        """
        self.skip_in_flight = True
        if self.has_parked:
            return CheckpointMove(self.checkpoint, self.checkpoint, 0)
        return CheckpointMove(
            self.checkpoint, self.current[0][0].decode(), int(not self._lost_ahead)
        )

    def skipped(self, move: CheckpointMove) -> None:
        """Redis has moved the checkpoint past the current event, or it is not parked any more."""
        self.skip_in_flight = False
        if self.has_parked:
            raw, self.current = self.current[0], self.current[:0]
            self._unparked(raw)
            self.suspicion.survived(raw[0], 1)
            return
        self.finish(1)
        self._finished_count -= move.count
        self.checkpoint = move.next
        self.processed += move.count
