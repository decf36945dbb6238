"""What must hold for one partition, in Python: small enough to be read, and compared with Redis.

The model learns ids from replies and decides everything else by itself. It knows nothing of how the
scripts store it, but for the names of the fields that the last part compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.contracts.wire import Log as LogLook
from tests.contracts.wire import Look, Refused, order

ZERO = "0-0"
Fields = tuple[str, ...]


@dataclass
class Slot:
    """One processor on the partition. `read` counts the entries ever added up to the checkpoint."""

    checkpoint: str = ZERO
    read: int = 0
    token: tuple[int, str] | None = None
    released: bool = False
    grant: int = 0
    owner: str = ""
    previous_owner: str = ""
    processed: int = 0
    attempts: int = 0
    event: str = ""
    deaths: int = 0
    tenures: int = 0
    started: str = ""
    paused: bool = False
    quarantined: bool = False

    def progress(self, following: str | None = None) -> None:
        """The checkpoint has moved: nothing that was held against an event counts any more, but
        against one behind `following`, which is still to be finished."""
        self.tenures = 0
        if following is None or not self.event or order(self.event) <= order(following):
            self.attempts, self.deaths, self.event, self.started = 0, 0, "", ""

    def new_token(self, now: int, nonce: str) -> None:
        """S2: above every token before, and never behind the clock."""
        self.token = (max(self.token[0] + 1 if self.token else 1, now), nonce)


@dataclass
class Log:
    """A log with those who go by it. `passed` holds the registered processors' checkpoints."""

    entries: list[tuple[str, Fields]] = field(default_factory=list)
    added: int = 0
    passed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    producers: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    #: What the native group still shows of a processor whose state was lost: entries read.
    shown: dict[str, int] = field(default_factory=dict)
    #: Where native groups are that retention has moved ahead of their checkpoints: id, and entries
    #: read.
    moved: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [event for event, _ in self.entries]

    @property
    def last(self) -> str:
        """Nothing is deleted here, so the last entry is always there."""
        return self.entries[-1][0] if self.entries else ZERO

    def behind(self, event: str) -> list[str]:
        """The ids that come after this one."""
        return [each for each in self.ids if order(each) > order(event)]

    def room(self, size: int, more: int, policy: str) -> int | Refused:
        """S4: how many of the oldest must go, if they may.

        They may if every registered processor has passed even the first entry that stays, so that
        the entry at the lowest checkpoint stays too; or if the policy says `drop_oldest`.
        """
        over = len(self.entries) + more - size
        if over <= 0:
            return 0
        stays = self.ids[over]
        free = self.passed and all(
            name in self.groups and order(passed) >= order(stays)
            for name, passed in self.passed.items()
        )
        return over if free or policy == "drop_oldest" else Refused("FULL")

    def drop(self, count: int, slots: dict[str, Slot]) -> None:
        """The oldest go; each processor that had not passed one has lost it, and its native group
        moves along, so that it does not count as lag."""
        gone = self.ids[:count]
        for name, passed in self.passed.items():
            lost = sum(order(event) > order(passed) for event in gone)
            if lost:
                self.dropped[name] = self.dropped.get(name, 0) + lost
            if lost and name in self.groups and (name in slots or name in self.shown):
                at, read = self.native(name, slots)
                if ahead := sum(order(event) > order(at) for event in gone):
                    self.moved[name] = (gone[-1], read + ahead)
        del self.entries[:count]

    def native(self, name: str, slots: dict[str, Slot]) -> tuple[str, int]:
        """Where the native group of a processor is: the id, and entries read up to it."""
        if name in self.moved:
            return self.moved[name]
        slot = slots.get(name)
        return (slot.checkpoint, slot.read) if slot else (self.passed[name], self.shown[name])

    def add(self, first: str, entries: list[Fields]) -> None:
        """Entries land in order, under ids of one instant."""
        ms, sequence = order(first)
        assert order(first) > order(self.last), "S3: new events come behind the old"
        for i, fields in enumerate(entries):
            self.entries.append((f"{ms}-{sequence + i}", fields))
        self.added += len(entries)


def check_log(log: Log, look: LogLook | None, slots: dict[str, Slot]) -> None:
    """The stream is what the model says, and each native group shows what is not finished."""
    found = look or LogLook([], 0, ZERO, {})
    assert found.entries == log.entries, "the log's entries"
    assert found.added == log.added
    assert set(found.groups) == log.groups
    for name in log.groups & set(slots):
        group, (at, read) = found.groups[name], log.native(name, slots)
        assert (group.at, group.read) == (at, read), f"the group of {name}"
        behind = len(log.behind(at))
        if read == log.added - behind:
            assert group.lag == behind, f"the native lag of {name}"


def check_meta(log: Log, meta: dict[str, str]) -> None:
    """Retention goes by the checkpoints that the processors really have, and by no others."""

    def under(prefix: str) -> dict[str, str]:
        return {
            name.removeprefix(prefix): value
            for name, value in meta.items()
            if name.startswith(prefix)
        }

    assert under("checkpoint:") == log.passed
    assert {name: int(value) for name, value in under("dropped:").items()} == log.dropped


def check_slot(slot: Slot | None, state: dict[str, str] | None) -> None:
    """The state of a processor is what the model says."""
    assert (slot is None) == (state is None), "there is a state exactly if it is registered"
    if slot is None or state is None:
        return
    epoch, nonce = slot.token or (0, "")
    expected: dict[str, str | int] = vars(slot) | {"epoch": epoch, "nonce": nonce}
    del expected["token"]
    for name, value in expected.items():
        empty = "" if isinstance(value, str) else "0"
        assert state.get(name, empty) == (value if isinstance(value, str) else str(int(value))), (
            name
        )


def check_producers(log: Log, look: dict[str, str]) -> None:
    """Each producer's last append is remembered, and nothing else."""
    expected = {
        name: f"{sequence} {first} {count}"
        for name, (sequence, first, count) in log.producers.items()
    }
    assert look == expected


def hash_of(look: Look, key: str) -> dict[str, str]:
    """The fields of a hash that may not be there."""
    found: dict[str, str] = look.get(key, {})
    return found
