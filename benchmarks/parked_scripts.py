"""Times the scripts of parked events and dead letters, each at the largest input that it allows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import islice

from benchmarks.partition_scripts import Partition
from benchmarks.script_timer import ENTRY, Timer, case
from runnel import protocol
from runnel.protocol import (
    CheckpointMove,
    ParkedEntries,
    PostponedEntries,
    parked_entry,
    parked_names,
)

#: The most keys of a replay, and the most entries that are dropped, or letters that are taken.
MOST_KEYS, MOST_ENTRIES = 500, 100
#: Events that may be parked.
LIMIT = 10_000


def key(number: int) -> bytes:
    return b"key%d" % number


class Parking(Partition):
    """A partition whose first processor has parked events, each of its own key."""

    def park(self, events: int) -> None:
        """Park so many more, 200 with a commit."""
        for first in range(0, events, 200):
            prev = self.checkpoint()
            self.timer.call(self.append(1))
            last = self.ids()[-1]
            entries = [parked_entry(key(n), last, ENTRY) for n in range(first, first + 200)]
            move = CheckpointMove(prev, last, 1)
            parked = ParkedEntries(self.keys, LIMIT, entries)
            self.timer.call(protocol.transact(self.keys, self.token, move, [parked]))

    def checkpoint(self) -> str:
        found: bytes = self.timer.redis.hget(self.keys.state, "checkpoint")
        return found.decode()

    def claim_anew(self) -> None:
        """After a script that ended the lease."""
        claimed = protocol.read_claim(self.timer.call(self.claim()))
        self.token = protocol.Token(claimed.epoch, self.nonce)


@case("replay", "replay, 500 keys", 3_200)
def replay(timer: Timer, repeats: int) -> Iterator[float]:
    parking = Parking(timer, "replay")
    parking.park(600)
    chosen = [key(number) for number in range(MOST_KEYS)]
    for _ in range(repeats):
        yield timer.timed(protocol.replay(parking.keys, chosen, secrets.token_hex(16)))
        timer.redis.delete(parked_names(parking.keys)[2])


@case("drop_parked", "drop_parked, 100 entries", 1_600)
def drop_parked(timer: Timer, repeats: int) -> Iterator[float]:
    parking = Parking(timer, "drop_parked")
    for _ in range(repeats):
        parking.park(200)
        entries = timer.redis.xrange(parked_names(parking.keys)[0], count=MOST_ENTRIES)
        ids = [id_.decode() for id_, _ in entries]
        yield timer.timed(protocol.drop_parked(parking.keys, ids, secrets.token_hex(16)))
        parking.claim_anew()


@case("park_again", "park_again", 60)
def park_again(timer: Timer, repeats: int) -> Iterator[float]:
    parking = Parking(timer, "park_again")
    parking.park(600)
    chosen = [key(number) for number in range(min(repeats, MOST_KEYS))]
    timer.call(protocol.replay(parking.keys, chosen, secrets.token_hex(16)))
    parking.claim_anew()
    for each in islice(chosen, repeats):
        failed = each, parking.checkpoint(), 4, ("ValueError", "x" * 1000)
        yield timer.timed(protocol.park_again(parking.keys, parking.token, *failed))


@case("take_letters", "take_letters, 100 letters to replay", 2_800)
def take_letters(timer: Timer, repeats: int) -> Iterator[float]:
    parking = Parking(timer, "take_letters")
    letters = Partition(timer, "letters")
    for _ in range(repeats):
        timer.call(letters.append(MOST_ENTRIES))
        letters.commit_all()
        ids = letters.ids()[-MOST_ENTRIES:]
        entries = [parked_entry(key(n), id_, ENTRY) for n, id_ in enumerate(ids)]
        taken = list(zip(ids, entries, strict=True))
        nonce = secrets.token_hex(16)
        yield timer.timed(protocol.take_letters(parking.keys, letters.prefix, taken, LIMIT, nonce))
        timer.redis.delete(*parked_names(parking.keys))


class Postponing(Parking):
    """A partition whose first processor has postponed events."""

    def postpone(self, events: int, ms: int) -> list[str]:
        """Postpone so many, and return the ids of their entries, oldest first."""
        for first in range(0, events, 200):
            prev = self.checkpoint()
            self.timer.call(self.append(1))
            last = self.ids()[-1]
            entries = [
                parked_entry(protocol.postponed_key(last, key(n)), last, ENTRY)
                for n in range(first, min(first + 200, events))
            ]
            move = CheckpointMove(prev, last, 1)
            postponed = PostponedEntries(self.keys, ms, LIMIT, entries)
            self.timer.call(protocol.transact(self.keys, self.token, move, [postponed]))
        found = self.timer.redis.xrange(parked_names(self.keys)[0])
        return [id_.decode() for id_, _ in found]


@case("due", "due, 100 events", 2_700)
def due(timer: Timer, repeats: int) -> Iterator[float]:
    postponing = Postponing(timer, "due")
    postponing.postpone(1000, 0)
    for _ in range(repeats):
        yield timer.timed(protocol.due(postponing.keys, MOST_ENTRIES))


@case("postpone", "postpone, a failure again", 160)
def postpone(timer: Timer, repeats: int) -> Iterator[float]:
    postponing = Postponing(timer, "postpone")
    entry = postponing.postpone(1000, 60_000)[0]
    for attempts in range(2, repeats + 2):
        failed = postponing.checkpoint(), attempts, ("ValueError", "x" * 1000)
        yield timer.timed(
            protocol.postpone(postponing.keys, postponing.token, entry, 60_000, failed)
        )
