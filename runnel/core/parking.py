"""The parked keys of one partition, under one lease, and their events.

When an event is parked, only its key steps aside: the events of that key that follow are parked,
too, so that they stay in order. Before the log is read, the parked events of those keys are handed
out that an operator wants replayed.

A postponed event is parked by itself, with a due time: no other event waits for it. When it is due,
it is handed out between two events of the log, alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runnel.core.lifecycle import Lifecycle
from runnel.core.pending_effects import PendingEffects
from runnel.core.reading import Raw
from runnel.core.suspicion import Suspicion
from runnel.protocol import (
    ClaimReply,
    Effect,
    ParkedEvent,
    PartitionKeys,
    Replayed,
    key_of_postponed,
    parked_entry,
)
from runnel.protocol.ids import parts, reached

#: Events that may be set aside behind current ones.
MOST_ASIDE = 100


def _no_key(raw: Raw) -> bytes:
    return b""


class ParkedRaw(list[Any]):
    """A parked event that is handed out: as `Raw`, with its parked key, the id of its entry, how
    often it has failed, and how many replays of it have; one that is replayed has all its retries
    again."""

    def __init__(self, event: ParkedEvent, attempts: int | None = None) -> None:
        super().__init__([event.event.encode(), list(event.fields)])
        self.key, self.entry = event.key, event.entry
        self.attempts = event.attempts if attempts is None else attempts
        self.replays = event.failed.replays

    @property
    def postponed(self) -> bool:
        """Is it a postponed event, which no other one waits for?"""
        return key_of_postponed(self.key) is not None


class Parking:
    """`counts` has how many events of each key are parked; `replaying` those of the keys that are
    to be replayed. At most `limit` events may be parked. `key_of` returns the key of an event, an
    empty one if it cannot be decoded. With `postponed`, some may be due later."""

    def __init__(
        self,
        key_of: Callable[[Raw], bytes] = _no_key,
        limit: int = 1000,
        counts: Mapping[bytes, int] | None = None,
        replaying: Sequence[bytes] = (),
        *,
        postponed: bool = False,
    ) -> None:
        self.key_of = key_of
        self.limit = limit
        counts = counts or {}
        self.replaying = {key for key in replaying if key in counts}
        #: Those of postponed events do not count, because nothing is parked behind them: they are
        #: here only while they are replayed.
        self.counts = {
            key: count
            for key, count in counts.items()
            if key in self.replaying or key_of_postponed(key) is None
        }
        self.postponed = postponed
        #: Is it time to look which of them are due?
        self.look = postponed
        #: Postponed events that are due, until they are handed out; and the entries of those that
        #: were read under this lease and may still be there.
        self.due: deque[ParkedRaw] = deque()
        self.known_due: set[str] = set()
        #: Events of parked keys that come after current ones: they are parked when these are
        #: finished.
        self.aside: deque[Raw] = deque()
        #: The id of the last entry of the parked events that was read for a replay.
        self.cursor = ""

    def has_key_of(self, raw: Raw) -> bool:
        """Is the key of this event parked?"""
        return bool(self.counts) and self.key_of(raw) in self.counts

    def add(self, raw: Raw) -> Sequence[bytes]:
        """One more event is parked, since its key is. Returns its entry."""
        key = self.key_of(raw)
        self.counts[key] = self.counts.get(key, 0) + 1
        return parked_entry(key, raw[0].decode(), raw[1])

    def replayed(self, raw: ParkedRaw) -> None:
        """A parked event is finished. With its last event, a key is not parked any more."""
        left = self.counts.pop(raw.key, 0) - 1
        if left > 0:
            self.counts[raw.key] = left
        else:
            self.replaying.discard(raw.key)

    @property
    def aside_full(self) -> bool:
        """May no more be set aside? What comes between events that are finished together is
        committed with them, so it must fit into one commit."""
        return len(self.aside) >= min(MOST_ASIDE, self.limit)

    def before(self, raw: Raw | None) -> list[Raw]:
        """Take those events out of `aside` that come before this one; all for None."""
        found = []
        while self.aside and not (raw is not None and _after(self.aside[0], raw)):
            found.append(self.aside.popleft())
        return found

    def back(self, kept: Sequence[Raw], returned: Sequence[Raw]) -> list[Raw]:
        """Events to be handed out again, in order: these, and those of `aside` that do not come
        before the last of the kept ones."""
        stay = [each for each in self.aside if kept and not _after(each, kept[-1])]
        again = [each for each in self.aside if not (kept and not _after(each, kept[-1]))]
        self.aside = deque(stay)
        return sorted([*returned, *again], key=lambda raw: parts(raw[0].decode()))


def _after(raw: Raw, other: Raw) -> bool:
    return reached(raw[0].decode(), other[0].decode())


class ParkingState(Lifecycle):
    """Adds to a partition the events that are parked and replayed."""

    keys: PartitionKeys
    suspicion: Suspicion
    effects: PendingEffects | None
    to_outbox: bool
    refused: Exception | None

    def __init__(self, claimed: ClaimReply, parking: Parking) -> None:
        super().__init__(claimed)
        self.parking = parking
        #: Events that were handed out and are not finished.
        self.current: Sequence[Raw] = ()
        self._finished = claimed.checkpoint.encode()
        self._parking_changed()

    @property
    @abstractmethod
    def overloaded(self) -> bool:
        """Does so much wait for commits that no further event may be handed out?"""

    @abstractmethod
    def _advance(self, last: Raw, count: int) -> None:
        """`count` more events of the log are finished, up to this one."""

    def _parking_changed(self) -> None:
        self.replaying = bool(self.parking.replaying)
        #: Must each event be looked at: are keys parked, or is a postponed event due or current?
        self.keys_parked = bool(self.parking.counts) or self.alone

    @property
    def has_parked(self) -> bool:
        """Is the current event a parked one?"""
        return bool(self.current) and isinstance(self.current[0], ParkedRaw)

    @property
    def alone(self) -> bool:
        """Is a parked event the current or the next one? It has no other beside it."""
        return self.replaying or bool(self.parking.due) or self.has_parked

    def add_due(self, events: Sequence[ParkedEvent]) -> None:
        """Take in postponed events that are due: those that were not read before."""
        known, found = self.parking.known_due, {each.entry for each in events}
        known &= found  # What is not due any more was finished or postponed.
        new = [ParkedRaw(each) for each in events if each.entry not in known]
        known |= found
        self.parking.due += [each for each in new if each.key not in self.parking.replaying]
        self._parking_changed()

    def ready(self) -> bool:
        """Is there an event in the buffer that may be handed out? Those of parked keys before it
        are set aside, and parked with the next commit."""
        if self.next_is_due:
            return True
        buffer = self.buffer
        if self.keys_parked and not self.replaying:
            while buffer and not self.overloaded and self.parking.has_key_of(buffer[0]):
                if self.parking.aside_full:
                    break
                self.parking.aside.append(buffer.popleft())
                self._park_aside()
            return bool(buffer) and not self.parking.has_key_of(buffer[0])
        return bool(buffer)

    @property
    def next_is_due(self) -> bool:
        """Is a postponed event handed out next?"""
        return bool(self.parking.due) and not (self.current or self.replaying)

    @property
    def next_id(self) -> bytes:
        """The id of the event that is handed out next, if one is ready."""
        id_: bytes = (self.parking.due if self.next_is_due else self.buffer)[0][0]
        return id_

    def _take(self, limit: int) -> Sequence[Raw]:
        """Up to `limit` events of the buffer. Those of parked keys between them are set aside."""
        if self.next_is_due:
            raw = self.parking.due.popleft()
            self.parking.look |= not self.parking.due
            return [raw]
        buffer, raws = self.buffer, list[Raw]()
        while buffer and len(raws) < (1 if self.replaying else limit):
            aside = not self.replaying and self.parking.has_key_of(buffer[0])
            if aside and self.parking.aside_full:
                break
            (self.parking.aside if aside else raws).append(buffer.popleft())
        return raws

    def _finish_replayed(self, finished: Sequence[Raw]) -> None:
        """They are behind the checkpoint, which stays."""
        entries = [self._unparked(raw) for raw in finished]
        self._writes().finished(self._finished, 0, replayed=entries)

    def _unparked(self, raw: Raw) -> str:
        """A parked event is finished. Returns the id of its entry."""
        assert isinstance(raw, ParkedRaw)
        self.parking.replayed(raw)
        self._parking_changed()
        return raw.entry

    def _park_aside(self) -> None:
        """Events that were set aside are finished, and parked, up to the first current one."""
        for raw in self.parking.before(self.current[0] if self.current else None):
            self._advance(raw, 1)
            self._writes().parked(self._finished, self.parking.add(raw), self.parking.limit)

    def park_next(self) -> None:
        """The first current event was not processed, since its key was parked meanwhile: it is
        finished, and parked with the next commit."""
        raw, self.current = self.current[0], self.current[1:]
        if self.refused is None:
            self._advance(raw, 1)
            self._writes().parked(self._finished, self.parking.add(raw), self.parking.limit)
            if self.parking.aside:
                self._park_aside()

    def _writes(self) -> PendingEffects:
        if self.effects is None:
            self.effects = PendingEffects(self.keys, (), self.to_outbox)
        return self.effects

    def _back_to_due(self, returned: Sequence[Raw]) -> bool:
        """A postponed event was not finished, and is handed out again. Returns False if these are
        others."""
        if self.replaying or not (returned and isinstance(returned[0], ParkedRaw)):
            return False
        self.parking.due.appendleft(returned[0])
        self._parking_changed()
        return True

    def skip_effects(self) -> list[Effect]:
        """What `next_skip` writes if the current event is replayed: it is not parked any more."""
        raw = self.current[0]
        return [Replayed(self.keys, [raw.entry])] if isinstance(raw, ParkedRaw) else []

    def parked(self, raw: Raw) -> None:
        """The current event was skipped, and is parked now."""
        self.parking.add(raw)
        self._parking_changed()

    def postponed(self) -> None:
        """The current event was skipped, and is due later."""
        self.parking.postponed = self.parking.look = True

    def parked_again(self) -> None:
        """The current event, a parked one, has failed: its key is replayed no further."""
        raw, self.current = self.current[0], self.current[:0]
        assert isinstance(raw, ParkedRaw)
        self.suspicion.survived(raw[0], 1)
        if self.replaying:
            left = [each for each in self.buffer if getattr(each, "key", b"") != raw.key]
            self.buffer.clear()
            self.buffer.extend(left)
        if raw.postponed:
            self.parking.postponed = self.parking.look = True
            self.parking.known_due.discard(raw.entry)
            self.parking.counts.pop(raw.key, None)
        self.parking.replaying.discard(raw.key)
        self._parking_changed()

    @property
    def replays_left(self) -> int:
        """How many parked events are to be replayed and not finished."""
        return sum(self.parking.counts[key] for key in self.parking.replaying)

    def end_replay(self) -> None:
        """Replay nothing more under this lease."""
        self.parking.replaying.clear()
        self._parking_changed()
