"""What the owner of a partition knows of its processor's outbox: which entries wait, and for what.

Entries go to their targets, which are partitions of other streams: for each target in order, and
for all independently of one another. They leave the outbox in order. So the entries behind one
whose target is full stay in the outbox, although they were forwarded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from runnel import keys
from runnel.core.reading import Raw
from runnel.errors import BadArgument, Conflict, Full
from runnel.protocol import Entry, OutboxTrim, PartitionKeys, Sink

#: Entries and bytes of one append.
BATCH, BATCH_BYTES = 500, 1_000_000
#: Entries of one read, at first and at most, and the bytes that it should bring.
FIRST_PAGE, PAGE, PAGE_BYTES = 16, 500, 2_000_000
#: Bytes of entries in memory beyond which nothing more is read.
ROOM = 4_000_000
#: The numbers that scripts take.
_MOST = 10**15


@dataclass(slots=True, eq=False)
class Waiting:
    """An entry of the outbox; or entries that were lost, with an empty id.

    When it leaves, `number` is the new `outbox_done`, and so many entries before it were `lost`.
    `entry` is None while only its id is kept in memory.
    """

    id: str
    number: int
    lost: int
    sink: Sink | None = None
    entry: Entry | None = None
    size: int = 0
    forwarded: bool = False
    order: int = 0

    @property
    def counts(self) -> bool:
        """Is its number one of those up to `outbox_last`?"""
        return self.id.endswith(f"-{self.number}")


@dataclass(slots=True, eq=False)
class Target:
    """A partition of another stream, with the entries that wait for it. `busy` while somebody
    forwards them; `problem` is why the last append failed, if it did. An append takes `limit`
    entries at most: it needs room for all of them."""

    prefix: str
    queue: deque[Waiting] = field(default_factory=deque)
    busy: bool = False
    problem: Exception | None = None
    limit: int = BATCH

    @property
    def stream(self) -> str:
        return self.prefix.rpartition(":")[2]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.stream}, partition {keys.scope(self.prefix)[2]}"


class Outbox:
    """The outbox of one processor on one partition, under one lease."""

    def __init__(self, names: PartitionKeys) -> None:
        self._app, _, _ = keys.scope(names.prefix)
        self._targets: dict[str, Target] = {}
        #: All entries that were read and have not left, in order.
        self._waiting: deque[Waiting] = deque()
        #: The id after which the next read begins, and how many entries it brings at most.
        self.after, self.page = "0-0", FIRST_PAGE
        #: The largest number that was read or found to be lost; None before the first read.
        self._seen: int | None = None
        #: `outbox_last` of the last read: entries up to it exist, or are lost.
        self._last = 0
        #: `outbox_done`, as the last trim has set it.
        self._done = 0
        #: How often a commit has written, and how often before the read in flight.
        self._writes, self._known_writes = 1, 0
        self._held = 0
        self._trim: OutboxTrim | None = None
        self._waits_for: str | None = None

    # Reading

    def wrote(self) -> None:
        """A commit has written to the outbox."""
        self._writes += 1

    @property
    def wants_read(self) -> bool:
        """Is there something to read, and room for it?"""
        return self._writes != self._known_writes and self._held < ROOM

    def begin_read(self) -> int:
        """The next read begins. Returns the number of its writes, for `take_in`."""
        return self._writes

    def take_in(self, entries: Sequence[Raw], last: int, done: int, writes: int) -> None:
        """Take in the entries after `after`, and `outbox_last` and `outbox_done`, which were read
        behind them. Raises Conflict if the server has lost commits, BadArgument if nobody can tell
        where an entry goes."""
        if self._seen is None:
            self._seen = self._done = done
        if last < self._seen:
            raise Conflict(f"CONFLICT outbox_last={last}", {"outbox_last": str(last)})
        size = 0
        for raw_id, fields in entries:
            waiting = self._waiting_of(raw_id.decode(), fields, last)
            size += waiting.size
            self.after = waiting.id
        more = len(entries) >= self.page
        if not more and self._last > self._seen:
            # The end was read, and what was there before this read is not.
            lost = self._last - self._seen
            self._waiting.append(Waiting("", self._last, lost, forwarded=True))
            self._seen = self._last
        self._last = last
        if not more and last <= self._seen:
            self._known_writes = writes
        if entries:
            average = size // len(entries) + 1
            self.page = max(1, min(PAGE, 2 * self.page, PAGE_BYTES // average))

    def _waiting_of(self, id_: str, fields: Sequence[bytes], last: int) -> Waiting:
        assert self._seen is not None
        number, lost = int(id_.partition("-")[2]), 0
        if number >= _MOST or fields[0] != b"to":
            raise BadArgument(f"BADARG the entry {id_} does not begin with the pair `to`")
        sink = Sink.at(self._app, fields[1].decode(errors="replace"))
        # Others have numbers of a state that was lost.
        if self._seen < number <= last:
            lost, self._seen = number - self._seen - 1, number
        entry = fields[2:]
        order = self._waiting[-1].order + 1 if self._waiting else 0
        waiting = Waiting(id_, self._seen, lost, sink, entry, sum(map(len, entry)), order=order)
        target = self._targets.setdefault(sink.prefix, Target(sink.prefix))
        target.queue.append(waiting)
        self._waiting.append(waiting)
        self._held += waiting.size
        if target.problem is not None:
            self._drop_entry(waiting)
        return waiting

    def _drop_entry(self, waiting: Waiting) -> None:
        if waiting.entry is not None:
            self._held -= waiting.size
            waiting.entry = None

    # Forwarding

    def ready(self) -> list[Target]:
        """The targets that entries wait for, and that nobody forwards to."""
        return [each for each in self._targets.values() if each.queue and not each.busy]

    def unread(self, target: Target) -> list[str]:
        """The ids of the next entries, if only their ids are in memory: see `read_again`."""
        found: list[str] = []
        size = 0
        for each in islice(target.queue, BATCH):
            size += each.size
            if each.entry is not None or (found and size > BATCH_BYTES):
                break
            found.append(each.id)
        return found

    def read_again(self, target: Target, found: Mapping[str, Entry | None]) -> None:
        """The entries that `unread` has named. One that is None was lost meanwhile."""
        for each in list(islice(target.queue, len(found))):
            entry = found[each.id]
            if entry is None:
                self.lost(each)
                target.queue.remove(each)
            elif each.entry is None:
                each.entry = entry[2:]
                self._held += each.size

    def lost(self, waiting: Waiting) -> None:
        """The entry is nowhere."""
        waiting.lost += waiting.counts
        waiting.forwarded = True

    def batch(self, target: Target) -> list[Waiting]:
        """The next entries for a target that one append takes."""
        found: list[Waiting] = []
        size = 0
        for each in target.queue:
            sink = each.sink
            assert sink is not None
            if found and (sink != found[0].sink or size + each.size > BATCH_BYTES):
                break
            if each.entry is None or len(found) >= min(target.limit, sink.size - 1):
                break
            found.append(each)
            size += each.size
        return found

    def forwarded(self, target: Target, batch: Sequence[Waiting]) -> None:
        """The target has these entries."""
        target.problem, target.limit = None, min(2 * target.limit, BATCH)
        for each in batch:
            assert target.queue[0] is each
            target.queue.popleft()
            self._drop_entry(each)
            each.forwarded = True

    def no_room(self, target: Target, batch: Sequence[Waiting]) -> bool:
        """The target has no room for so many entries. Returns False if it has none at all."""
        target.limit = max(1, len(batch) // 2)
        return len(batch) > 1

    def failed(self, target: Target, problem: Exception) -> None:
        """The target did not take its entries. While they wait, only their ids are kept."""
        if isinstance(problem, Full):
            problem = Full(str(problem), {**problem.details, "sink": keys.log(target.prefix)})
        target.problem = problem
        for each in target.queue:
            self._drop_entry(each)

    @property
    def empty(self) -> bool:
        """Has all that was written left the outbox?"""
        return not self._waiting and self._trim is None and self._writes == self._known_writes

    @property
    def stuck(self) -> bool:
        """Do all entries that were read wait for targets that took none last time?"""
        problems = [each.problem for each in self._targets.values() if each.queue]
        return bool(problems) and None not in problems

    @property
    def full(self) -> Full | None:
        """The refusal of a stream that has no room; for the oldest entry, if several have none."""
        full = [(each.queue[0].order, each) for each in self._targets.values() if each.queue]
        for _, target in sorted(full, key=itemgetter(0)):
            if isinstance(target.problem, Full):
                return target.problem
        return None

    # Leaving

    def next_trim(self) -> OutboxTrim | None:
        """What to remove and to report now, if anything; the same again until `trimmed`."""
        if self._trim is not None:
            return self._trim
        last, number, lost = "0-0", None, 0
        while self._waiting and self._waiting[0].forwarded:
            each = self._waiting.popleft()
            last, number, lost = each.id or last, each.number, lost + each.lost
        full = self.full
        waits_for = full.sink or "" if full else ""
        if number is None and waits_for == (self._waits_for or ""):
            return None
        self._waits_for = waits_for
        if number is not None:
            self._done = number
        self._trim = OutboxTrim(last, self._done, lost, waits_for, full.reason if full else "")
        return self._trim

    def trimmed(self) -> None:
        """Redis has applied the trim."""
        self._trim = None
