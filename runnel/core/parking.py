"""The parked keys of one partition, under one lease, and their events.

When an event is parked, only its key steps aside: the events of that key that follow are parked,
too, so that they stay in order. Before the log is read, the parked events of those keys are handed
out that an operator wants replayed.
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
    parked_entry,
)
from runnel.protocol.ids import parts, reached

#: Events that may be set aside behind current ones.
MOST_ASIDE = 100


def _no_key(raw: Raw) -> bytes:
    return b""


class ParkedRaw(list[Any]):
    """A parked event that is handed out: as `Raw`, with its key and the id of its entry."""

    def __init__(self, event: ParkedEvent) -> None:
        super().__init__([event.event.encode(), list(event.fields)])
        self.key, self.entry = event.key, event.entry


class Parking:
    """`counts` has how many events of each key are parked; `replaying` those of the keys that are
    to be replayed. At most `limit` events may be parked. `key_of` returns the key of an event, an
    empty one if it cannot be decoded."""

    def __init__(
        self,
        key_of: Callable[[Raw], bytes] = _no_key,
        limit: int = 1000,
        counts: Mapping[bytes, int] | None = None,
        replaying: Sequence[bytes] = (),
    ) -> None:
        self.key_of = key_of
        self.limit = limit
        self.counts = dict(counts or {})
        self.replaying = {key for key in replaying if key in self.counts}
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
        left = self.counts[raw.key] = self.counts[raw.key] - 1
        if left <= 0:
            del self.counts[raw.key]
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
        #: Must events be compared with the parked keys?
        self.keys_parked = bool(self.parking.counts)
        self.replaying = bool(self.parking.replaying)

    def ready(self) -> bool:
        """Is there an event in the buffer that may be handed out? Those of parked keys before it
        are set aside, and parked with the next commit."""
        buffer = self.buffer
        if self.keys_parked and not self.replaying:
            while buffer and not self.overloaded and self.parking.has_key_of(buffer[0]):
                if self.parking.aside_full:
                    break
                self.parking.aside.append(buffer.popleft())
                self._park_aside()
            return bool(buffer) and not self.parking.has_key_of(buffer[0])
        return bool(buffer)

    def _take(self, limit: int) -> Sequence[Raw]:
        """Up to `limit` events of the buffer. Those of parked keys between them are set aside."""
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

    def skip_effects(self) -> list[Effect]:
        """What `next_skip` writes if the current event is replayed: it is not parked any more."""
        raw = self.current[0]
        return [Replayed(self.keys, [raw.entry])] if isinstance(raw, ParkedRaw) else []

    def parked(self, raw: Raw) -> None:
        """The current event was skipped, and is parked now."""
        self.parking.add(raw)
        self._parking_changed()

    def parked_again(self) -> None:
        """The current event, a replayed one, has failed: its key is replayed no further."""
        raw, self.current = self.current[0], self.current[:0]
        assert isinstance(raw, ParkedRaw)
        self.suspicion.survived(raw[0], 1)
        left = [each for each in self.buffer if isinstance(each, ParkedRaw) and each.key != raw.key]
        self.buffer.clear()
        self.buffer.extend(left)
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
