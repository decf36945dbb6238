"""Reads what is parked: the keys, with the claim of a partition; the events of those keys that are
to be replayed, before the partition's log is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.parking import ParkedRaw, Parking
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.protocol import ClaimReply, PartitionKeys
from runnel.protocol.ids import parts
from runnel.worker import outage_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.table_reads import keys_of, read_fields

logger = logger_of("runnel.worker")

#: Parked events of one read: each may be as large as a record can be.
PAGE = 20


async def parking_of(
    backend: Backend, processor: Processor, names: PartitionKeys, claimed: ClaimReply
) -> Parking:
    """The parked keys of a partition that was claimed. Asks Redis only if there are any. Raises
    redis-py's errors or OSError."""

    def key_of(raw: Raw) -> bytes:
        return key_of_event(processor, raw)

    counts: dict[bytes, int] = {}
    replaying: list[bytes] = []
    _, of_keys, of_replay = protocol.parked_names(names)
    if claimed.parked:
        flat = await backend.query(of_keys, "HGETALL", of_keys)
        values = zip(flat[::2], flat[1::2], strict=True)
        counts = {key: protocol.read_parked_key(value).count for key, value in values}
    if claimed.replay:
        replaying = await backend.query(of_replay, "HKEYS", of_replay)
    postponed = claimed.parked > 0
    return Parking(key_of, processor.park_limit, counts, replaying, postponed=postponed)


def key_of_event(processor: Processor, raw: Raw) -> bytes:
    """The key of an event; empty if it cannot be decoded, or has no usable key."""
    stream = processor.stream
    try:
        return stream.key(raw[2] if len(raw) > 2 else stream.codec.decode(raw[1]))
    except Exception:
        return b""


async def read_tables(
    backend: Backend, processor: Processor, state: PartitionState, raws: Sequence[Raw]
) -> None:
    """Read what the tables have for the keys of parked events, which are handed out soon."""
    if state.tables is not None and raws:
        ms, number = parts(state.checkpoint)
        last = f"{ms}-{number + 1}".encode()  # They are not forgotten before this is over.
        unknown = state.tables.unknown(last, keys_of(processor, raws))
        await read_fields(backend, [(state.tables, unknown)])


class ReplayReader:
    """Reads the parked events that are replayed into the buffers of their partitions, in order."""

    def __init__(
        self,
        processor: Processor,
        backend: Backend,
        callbacks: Callbacks,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._spawn = spawn
        self._reading: set[PartitionState] = set()

    def wake(self, state: PartitionState) -> None:
        """The partition waits for its next parked event."""
        if state not in self._reading and not state.buffer:
            self._reading.add(state)
            self._spawn(self._read(state))

    async def _read(self, state: PartitionState) -> None:
        pause = 0.1
        try:
            while state.open and state.replaying and not state.buffer:
                try:
                    more = await self._read_page(state)
                    outage_log.answered("replay")
                except (RedisError, OSError) as error:
                    outage_log.failed("replay", error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 2.0)
                    continue
                if not more:
                    break
        finally:
            self._reading.discard(state)
        self._callbacks.on_change(state)

    async def _read_page(self, state: PartitionState) -> bool:
        """Read some entries. Returns False if there are no more."""
        parking = state.parking
        log, _, _ = protocol.parked_names(state.keys)
        start = f"({parking.cursor}" if parking.cursor else "-"
        found = await self._backend.query(log, "XRANGE", log, start, "+", "COUNT", PAGE)
        events = [protocol.read_parked(*entry) for entry in found]
        chosen = [ParkedRaw(each, 0) for each in events if each.key in parking.replaying]
        await read_tables(self._backend, self._processor, state, chosen)
        if events:
            parking.cursor = events[-1].entry
            state.buffer.extend(chosen)
            return True
        if missing := state.replays_left - len(state.current):
            logger.error(
                "processor %s, partition %d: %d parked events to be replayed are missing: other "
                "programs must have deleted them; their keys stay parked",
                self._processor.name,
                state.partition,
                missing,
            )
            state.end_replay()
        return False
