"""Reads all held partitions of one processor with one command, and looks for losses.

XREAD is blind to a log that was trimmed, deleted or set back. So each read is followed, in the same
round trip, by a look at the entry at each cursor: if that one is gone, the partition is claimed
again, which counts what was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel import keys
from runnel.core.lane import Lane, Raw, Wanted
from runnel.processor import Processor

logger = logging.getLogger("runnel.worker")

#: Milliseconds a read waits for events.
BLOCK_MS = 5000


class Reader:
    """Fills the buffers of lanes. `arrived` is called for a lane that got events, `suspect` for
    one whose log may have lost some."""

    def __init__(
        self,
        processor: Processor,
        blocking: Redis,
        control: Redis,
        arrived: Callable[[Lane], None],
        suspect: Callable[[Lane], None],
    ) -> None:
        self._processor = processor
        self._blocking = blocking
        self._control = control
        self._arrived = arrived
        self._suspect = suspect
        self._lanes: dict[str, Lane] = {}
        self._changed = asyncio.Event()
        self._blocked_id: int | None = None
        self._unblocking: asyncio.Task[Any] | None = None

    def set_lanes(self, lanes: Iterable[Lane]) -> None:
        """Read these from now on."""
        self._lanes = {
            keys.log(self._processor.stream.prefix(lane.partition)): lane for lane in lanes
        }
        self.poke()

    def poke(self) -> None:
        """There may be more to read: a lane has room again. A blocked read is woken, since it
        waits for the others only and would starve this one."""
        self._changed.set()
        if self._blocked_id is not None and self._unblocking is None:
            self._unblocking = asyncio.create_task(self._unblock(self._blocked_id))

    async def _unblock(self, client_id: int) -> None:
        try:
            await self._control.client_unblock(client_id)
        except (RedisError, OSError) as error:
            logger.debug("could not wake the reader: %s", error)
        finally:
            self._unblocking = None

    async def run(self) -> None:
        """Read until cancelled."""
        pause = 0.1
        while True:
            self._changed.clear()
            wanted = {
                log: (lane, ask)
                for log, lane in self._lanes.items()
                if (ask := lane.wants(self._processor.prefetch))
            }
            if not wanted:
                await self._changed.wait()
                continue
            try:
                await self._read(wanted)
                pause = 0.1
            except (RedisError, OSError) as error:
                logger.warning("read failed, trying again: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _read(self, wanted: dict[str, tuple[Lane, Wanted]]) -> None:
        pipeline = self._blocking.pipeline(transaction=False)
        pipeline.execute_command(
            "XREAD",
            "COUNT",
            self._processor.prefetch,
            "BLOCK",
            BLOCK_MS,
            "STREAMS",
            *wanted,
            *(ask.cursor for _, ask in wanted.values()),
        )
        looks = [log for log, (_, ask) in wanted.items() if ask.look]
        for log in looks:
            cursor = wanted[log][1].cursor
            pipeline.execute_command("XRANGE", log, cursor, cursor, "COUNT", 1)
        # Replies as they came off the wire: a dict per entry would be built to be read once.
        pipeline.response_callbacks = {}
        if self._blocked_id is None:
            client_id = await self._blocking.client_id()
            self._blocked_id = int(client_id)
        if self._changed.is_set():
            return
        try:
            replies = await pipeline.execute()
        except BaseException:
            self._blocked_id = None
            raise
        seen = {log: bool(reply) for log, reply in zip(looks, replies[1:], strict=True)}
        for log, entries in replies[0] or ():
            name = log.decode()
            lane, ask = wanted[name]
            raws: list[Raw] = [(entry[0].decode(), entry[1] or ()) for entry in entries]
            if not lane.read(ask, raws, seen.get(name, False)):
                self._suspect(lane)
            else:
                self._arrived(lane)
