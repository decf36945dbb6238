"""Reads the logs of held partitions, and gives the entries to their states.

The reply of XREAD does not show that a log was trimmed, deleted or replaced by an older one. So
before anything that was read after a cursor is committed, the entry at the cursor is verified:
together with the read while there is much to read; otherwise together with the commits, so that a
single event is handed out without waiting for that. If the entry is gone, the partition is claimed
again, which counts what was lost.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from runnel.core.partition import PartitionState
from runnel.core.read_limits import MemoryBudget, ReadLimits, bytes_per_entry
from runnel.core.reading import Raw, ReadRequest
from runnel.errors import ReplyTooLarge
from runnel.log import logger_of
from runnel.worker import outage_log
from runnel.worker.callbacks import Callbacks
from runnel.worker.cancelling import cancel_and_wait
from runnel.worker.feeds import Feed, LogCursor, ReadBatch

logger = logger_of("runnel.worker")

#: After so many empty reads in a row, which take half a minute, every cursor is verified: an idle
#: log can be deleted too. Not more often, because these commands, one for each partition, are most
#: of what an idle worker sends. If an event arrives or a connection breaks, the next read verifies.
VERIFY_AFTER = 6

#: With tables, an event takes so many times as much memory, as a guess: its record waits with it.
DECODED = 4

#: Reads what tables have for the keys of events, before a handler gets these.
ReadTables = Callable[[Sequence[tuple[PartitionState, Sequence[Raw]]]], Awaitable[None]]


class LogRequest(NamedTuple):
    """What a read asks for of one log: at most `limit` entries."""

    log: str
    state: PartitionState
    request: ReadRequest
    limit: int

    @property
    def size(self) -> float:
        """An estimate of the bytes in the reply: 0 if the last read of this log brought nothing."""
        return self.limit * self.state.entry_bytes if self.state.active else 0.0


class LogReader:
    """Reads the partitions of one feed."""

    def __init__(
        self,
        prefetch: int,
        memory: MemoryBudget,
        feed: Feed,
        callbacks: Callbacks,
        read_tables: ReadTables | None = None,
    ) -> None:
        self._read_tables = read_tables
        self._prefetch = prefetch
        self._memory = memory
        self._feed = feed
        self._callbacks = callbacks
        self._states: dict[str, PartitionState] = {}
        self._changed = asyncio.Event()
        #: A read is waiting for events.
        self._waiting = False
        self._cutting: asyncio.Task[None] | None = None
        self._limits = ReadLimits(prefetch, memory)
        #: The usual bytes of an event in these logs; 0 while unknown.
        self._usual_bytes = 0.0
        #: The bytes that the buffer of one partition may have: half of its share of the memory. The
        #: other half is for the next read.
        self._share = 0.0
        self._turn = 0
        #: How many logs in a row had no entry.
        self._empty_logs = 0
        #: How many reads in a row had no entry.
        self._empty_reads = 0

    @property
    def states(self) -> int:
        """How many partitions it reads."""
        return len(self._states)

    def add(self, log: str, state: PartitionState) -> None:
        """Read this log into this partition, too."""
        self._states[log] = state
        self.wake()

    def remove(self, log: str, state: PartitionState) -> None:
        """Do not read this log any more."""
        if self._states.get(log) is state:
            del self._states[log]

    def wake(self) -> None:
        """There may be more to read. A waiting read is cut short: it waits for events of the other
        partitions only."""
        self._changed.set()
        if self._waiting and self._cutting is None:
            self._cutting = asyncio.create_task(self._cut_short())

    async def _cut_short(self) -> None:
        # Repeated, because it may reach Redis before the read does, and because a reply may be
        # long; but only while that read was sent before the partition had room.
        pause = 0.01
        while self._waiting and self._changed.is_set():
            await self._feed.cut_short()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
        self._cutting = None

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            await self._run()
        finally:
            self._memory.forget(self)
            try:
                if self._cutting is not None:
                    await cancel_and_wait((self._cutting,))
            finally:  # Also if this task is cancelled again.
                if self._cutting is not None:
                    self._cutting.cancel()  # A reply may have swallowed the first time.
                await self._feed.close()

    async def _run(self) -> None:
        pause = 0.1
        while True:
            self._changed.clear()
            wanted = self._wanted()
            if not wanted:
                await self._changed.wait()
                continue
            quiet = self._empty_logs >= len(wanted)
            requests = self._all_alike(wanted) if quiet else self._portion(wanted)
            counts = {each.limit for each in requests}
            # Either one command waits for all logs, or no command waits: if one waited for some of
            # the logs, the others would not be read meanwhile.
            wait = quiet or (len(counts) == 1 and len(requests) == len(wanted))
            try:
                await self._read(requests, wait)
                outage_log.answered("read")
                pause = 0.1
            except ReplyTooLarge as error:
                logger.info("reading again, with smaller limits: %s", error)
                self._failed(requests, max(counts), error)
            except (RedisError, OSError) as error:
                outage_log.failed("read", error)
                self._failed(requests, max(counts), error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    # What to read

    def _wanted(self) -> list[LogRequest]:
        """All that could be read now."""
        waiting, active = 0.0, 0
        for state in self._states.values():
            if state.buffer:
                waiting += len(state.buffer) * state.entry_bytes
                active += 1
            elif state.active:
                active += 1
        self._memory.set_used(self, waiting, active)
        self._share = share = self._memory.share() / 2
        prefetch, count = self._prefetch, self._limits.count
        wanted = []
        for log, state in self._states.items():
            size = state.entry_bytes
            state.buffer_limit = prefetch if size * prefetch <= share else int(share / size)
            if request := state.next_read(prefetch):
                most = count(size if state.size_known else 0.0, share, active)
                wanted.append(LogRequest(log, state, request, most))
        return wanted

    def _portion(self, wanted: list[LogRequest]) -> list[LogRequest]:
        """As many of these as one read may ask for. All get their turn."""
        most, limits = self._limits.bytes, self._limits
        if len(wanted) <= limits.logs and sum(each.size for each in wanted) <= most:
            return wanted
        at = self._turn % len(wanted)
        chosen: list[LogRequest] = []
        size = 0.0
        for each in (*wanted[at:], *wanted[:at]):
            size += each.size
            if chosen and (len(chosen) >= limits.logs or size > most):
                break
            chosen.append(each)
        self._turn = at + len(chosen)
        return chosen

    def _all_alike(self, wanted: list[LogRequest]) -> list[LogRequest]:
        """All of these in one command. No log has entries, and the first ones will be few."""
        limit = min(each.limit for each in wanted)
        return [each._replace(limit=limit) for each in wanted]

    # Reading

    async def _read(self, requests: Sequence[LogRequest], wait: bool) -> None:
        batches: defaultdict[int, list[LogCursor]] = defaultdict(list)
        for each in requests:
            batches[each.limit].append((each.log, each.request.cursor))
            each.state.reading = True
        verify = [(each.log, each.request.cursor) for each in requests if each.request.verify]
        self._waiting, began = wait, asyncio.get_running_loop().time()
        try:
            result = await self._feed.read(
                [ReadBatch(limit, cursors) for limit, cursors in batches.items()],
                verify,
                wait,
                self._limits.max_reply_bytes,
            )
        finally:
            self._waiting = False
            for each in requests:
                each.state.reading = False
        if result is None:
            return
        found, exist = result
        if self._read_tables is not None and found:
            await self._read_tables(
                [(each.state, found[each.log]) for each in requests if each.log in found]
            )
        verified = {log: exists for (log, _), exists in zip(verify, exist, strict=True)}
        size, more = 0.0, False
        for each in requests:
            entries: Sequence[Raw] = found.get(each.log, ())
            size += self._track_entry_size(each.state, entries)
            if entries or each.request.verify:
                more |= len(entries) >= each.limit
                self._take_in(each, entries, verified.get(each.log, False))
        self._limits.succeeded(size, asyncio.get_running_loop().time() - began)
        self._empty_logs = 0 if found else self._empty_logs + len(requests)
        if wait:
            self._count_empty(bool(found))
        if found and not more:
            # Let the handlers run first: the next read would delay them, and would find little so
            # soon. If there is more, send the next read first: Redis carries it out meanwhile.
            await asyncio.sleep(0)

    def _take_in(self, each: LogRequest, entries: Sequence[Raw], cursor_exists: bool) -> None:
        more = len(entries) >= each.limit
        if not each.state.take_in(each.request, entries, cursor_exists, more):
            self._callbacks.on_suspected_loss(each.state)
        if entries:
            self._callbacks.on_change(each.state)

    def _track_entry_size(self, state: PartitionState, entries: Sequence[Raw]) -> float:
        """Update the estimate for the next entries. Returns the bytes of these."""
        state.active = bool(entries)
        if not entries:
            # The next entries are not those that were estimated: use the size in other logs.
            state.entry_bytes = state.entry_bytes or self._usual_bytes
            state.size_known = state.entry_bytes > 0
            return 0.0
        size = bytes_per_entry(entries, self._share)
        if self._read_tables is not None:
            size *= DECODED
        state.entry_bytes, state.size_known = max(size, state.entry_bytes * 0.7), True
        self._usual_bytes = max(size, self._usual_bytes * 0.9)
        return size * len(entries)

    def _count_empty(self, found: bool) -> None:
        self._empty_reads = 0 if found or self._changed.is_set() else self._empty_reads + 1
        if self._empty_reads >= VERIFY_AFTER:
            self._verify_all()

    def _verify_all(self) -> None:
        """Have the next read verify every cursor."""
        self._empty_reads = 0
        for state in self._states.values():
            state.verify_next = True

    def _failed(self, requests: Sequence[LogRequest], count: int, error: Exception) -> None:
        """Read less next time: it is unknown whether the reply was too large or the server was
        away."""
        self._limits.failed(len(requests), count)
        self._empty_logs = 0
        for state in self._states.values():
            state.size_known = False
        self._verify_all()
        if str(error).startswith("WRONGTYPE"):
            # One of the keys is no stream. To claim each again tells which.
            for each in requests:
                self._callbacks.on_suspected_loss(each.state)
