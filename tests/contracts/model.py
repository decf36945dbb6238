"""A model of one partition in Python, small enough to read. Tests compare it with Redis.

The model learns ids from replies and decides everything else itself. Of what the scripts store it
knows only the names of the fields that the last functions compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.contracts.wire import Log as StoredLog
from tests.contracts.wire import Refused, Snapshot, order

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
    unclean_tenures: int = 0
    started: str = ""
    paused: bool = False
    quarantined: bool = False

    def progress(self, next_id: str | None = None) -> None:
        """The checkpoint has moved: failures and deaths are forgotten, except those of an event
        after `next_id`, which is still unfinished."""
        self.unclean_tenures = 0
        if next_id is None or not self.event or order(self.event) <= order(next_id):
            self.attempts, self.deaths, self.event, self.started = 0, 0, "", ""

    def new_token(self, now: int, nonce: str) -> None:
        """S2: greater than every earlier token, and not less than the clock."""
        self.token = (max(self.token[0] + 1 if self.token else 1, now), nonce)


@dataclass
class Log:
    """A log and its processors. `checkpoints` has those of the registered processors."""

    entries: list[tuple[str, Fields]] = field(default_factory=list)
    added: int = 0
    checkpoints: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    producers: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    #: Sender -> its last number, and of its last append the first id, count and first number.
    numbers: dict[str, tuple[int, str, int, int]] = field(default_factory=dict)
    #: When an append or trim looked for old entries last.
    trimmed_at: int | None = None
    #: Processor whose state was lost -> entries read, as its consumer group still has them.
    group_read: dict[str, int] = field(default_factory=dict)
    #: Processor -> id and entries read of its consumer group, if retention has moved the group past
    #: the checkpoint.
    advanced: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [event for event, _ in self.entries]

    @property
    def last(self) -> str:
        """Tests with this model delete nothing, so the last entry always exists."""
        return self.entries[-1][0] if self.entries else ZERO

    def behind(self, event: str) -> list[str]:
        """The ids that come after this one."""
        return [each for each in self.ids if order(each) > order(event)]

    def room(self, size: int, more: int, when_full: str) -> int | Refused:
        """S4: how many of the oldest entries must be trimmed, or the refusal.

        They may be trimmed if every registered processor has committed even the first entry that
        stays, so that the entry at the lowest checkpoint stays too; or with `drop_oldest`; or, with
        `drop_unread`, while nobody reads.
        """
        over = len(self.entries) + more - size
        if over <= 0:
            return 0
        stays = self.ids[over]
        free = all(
            name in self.groups and order(checkpoint) >= order(stays)
            for name, checkpoint in self.checkpoints.items()
        )
        if not self.checkpoints:
            free = when_full == "drop_unread" and not self.groups
        return over if free or when_full == "drop_oldest" else Refused("FULL")

    def too_old(self, ms: int, when_full: str) -> int:
        """S4: how many of the oldest entries leave because their ids are from before this ms: none
        behind the lowest checkpoint, nor the entry there."""
        free = self.free(when_full)
        return 0 if free is None else sum(order(each) < min((ms, 0), free) for each in self.ids)

    def free(self, when_full: str) -> tuple[int, int] | None:
        """Entries before this one may leave; None if nothing may."""
        if self.checkpoints:
            known = self.checkpoints.keys() <= self.groups
            return min(map(order, self.checkpoints.values())) if known else None
        return (2**64, 0) if when_full == "drop_unread" and not self.groups else None

    def age(self, limit: int | None, now: int, when_full: str) -> int:
        """How many entries an append removes because of their age, if it looks."""
        if limit is None or (
            self.trimmed_at is not None and 0 <= now - self.trimmed_at < limit / 100
        ):
            return 0
        self.trimmed_at = now
        return self.too_old(now - limit, when_full)

    def drop(self, count: int, slots: dict[str, Slot]) -> None:
        """Trim the oldest entries. A processor that had not committed one has lost it, and its
        consumer group moves past it, so that it does not count as lag."""
        gone = self.ids[:count]
        for name, checkpoint in self.checkpoints.items():
            lost = sum(order(event) > order(checkpoint) for event in gone)
            if lost:
                self.dropped[name] = self.dropped.get(name, 0) + lost
            if lost and name in self.groups and (name in slots or name in self.group_read):
                at, read = self.group_position(name, slots)
                if ahead := sum(order(event) > order(at) for event in gone):
                    self.advanced[name] = (gone[-1], read + ahead)
                    if name in self.group_read:
                        # Nothing else stores how many events its checkpoint is after, so these do
                        # not count as lost when it is registered again; `dropped` has them.
                        self.group_read[name] = read + ahead
        del self.entries[:count]

    def group_position(self, name: str, slots: dict[str, Slot]) -> tuple[str, int]:
        """The id at which the consumer group of a processor is, and the entries read up to it."""
        if name in self.advanced:
            return self.advanced[name]
        slot = slots.get(name)
        return (
            (slot.checkpoint, slot.read)
            if slot
            else (self.checkpoints[name], self.group_read[name])
        )

    def add(self, first: str, entries: list[Fields]) -> None:
        """Add entries in order, with ids of one millisecond."""
        ms, sequence = order(first)
        assert order(first) > order(self.last), "S3: new events come after the old ones"
        for i, fields in enumerate(entries):
            self.entries.append((f"{ms}-{sequence + i}", fields))
        self.added += len(entries)


def check_log(log: Log, snapshot: StoredLog | None, slots: dict[str, Slot]) -> None:
    """The stream equals the model, and each consumer group shows what is unfinished."""
    found = snapshot or StoredLog([], 0, ZERO, {})
    assert found.entries == log.entries, "the log's entries"
    assert found.added == log.added
    assert set(found.groups) == log.groups
    for name in log.groups & set(slots):
        group, (at, read) = found.groups[name], log.group_position(name, slots)
        assert (group.at, group.read) == (at, read), f"the group of {name}"
        behind = len(log.behind(at))
        if read == log.added - behind:
            assert group.lag == behind, f"the lag of the group of {name}"


def check_meta(log: Log, meta: dict[str, str]) -> None:
    """The meta hash has the checkpoints of the registered processors, and no others: retention
    uses them."""

    def under(prefix: str) -> dict[str, str]:
        return {
            name.removeprefix(prefix): value
            for name, value in meta.items()
            if name.startswith(prefix)
        }

    assert under("checkpoint:") == log.checkpoints
    looked = None if log.trimmed_at is None else str(log.trimmed_at)
    assert meta.get("trimmed_at") == looked
    assert {name: int(value) for name, value in under("dropped:").items()} == log.dropped


def check_slot(slot: Slot | None, state: dict[str, str] | None) -> None:
    """The state of a processor equals the model."""
    assert (slot is None) == (state is None), "there is a state if and only if it is registered"
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


def check_producers(log: Log, snapshot: dict[str, str]) -> None:
    """The last append of each producer is stored, and nothing else."""
    expected = {
        name: f"{sequence} {first} {count}"
        for name, (sequence, first, count) in log.producers.items()
    }
    assert snapshot == expected


def hash_of(snapshot: Snapshot, key: str) -> dict[str, str]:
    """The fields of a hash; none if it does not exist."""
    found: dict[str, str] = snapshot.get(key, {})
    return found
