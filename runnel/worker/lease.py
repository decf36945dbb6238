"""One held partition at work: hands events to the handler, and waits where the core must not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runnel import protocol
from runnel.core.lane import Lane, Raw
from runnel.errors import RunnelError
from runnel.processor import Processor
from runnel.scripts import Scripts
from runnel.worker.committer import Committer


class WorkerDied(RunnelError):
    """Workers died while they processed this event, more often than its retries allow."""


class Lease:
    """The source of `Events` for one partition.

    `vouched` says whether the session is certain to last: nothing is handed out while it is not.
    """

    def __init__(
        self,
        lane: Lane,
        processor: Processor,
        scripts: Scripts,
        committer: Committer,
        poke_reader: Callable[[], None],
        vouched: asyncio.Event,
    ) -> None:
        self.lane = lane
        self.partition = lane.partition
        self.changed = asyncio.Event()
        self._processor = processor
        self._scripts = scripts
        self._committer = committer
        self._poke_reader = poke_reader
        self._vouched = vouched
        self._each = processor.commit == "each"

    async def take(self, limit: int, within: float | None) -> list[Raw]:
        """The next events; those given before are finished. Empty once no more will be given."""
        lane = self.lane
        if lane.finish():
            self._committer.mark(lane)
            if self._each or lane.recorded:
                await self.flush()
        if not lane.buffer or not lane.open or not self._vouched.is_set():
            await self._wait_for_event()
        if within is not None and len(lane.buffer) < limit:
            await self._wait_for(limit, within)
        if not lane.open:
            return []
        raws = lane.hand_out(limit)
        if lane.wants(self._processor.prefetch):
            self._poke_reader()
        if raws[0][0] == lane.event and lane.attempts > self._processor.retries:
            raise WorkerDied(
                f"event {lane.event} failed or killed its worker {lane.attempts} times"
            )
        if lane.recorded:
            await self._record_start(raws[0][0])
        return raws

    async def commit(self) -> None:
        """Finish what was given out and wait until that is committed."""
        if self.lane.finish():
            self._committer.mark(self.lane)
            await self.flush()

    async def flush(self) -> None:
        """Wait until all that is finished is committed, or the token is spent."""
        while not self.lane.clean and not self.lane.over:
            self.changed.clear()
            await self.changed.wait()

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the partition is wanted elsewhere."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.lane.open and (left := deadline - asyncio.get_running_loop().time()) > 0:
            self.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self.changed.wait()
            except TimeoutError:
                return

    async def _wait_for_event(self) -> None:
        while self.lane.open and not (self.lane.buffer and self._vouched.is_set()):
            self.changed.clear()
            if self.lane.buffer:
                await self._vouched.wait()
            else:
                await self.changed.wait()

    async def _wait_for(self, limit: int, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while self.lane.open and len(self.lane.buffer) < limit:
                    self._poke_reader()
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pass

    async def _record_start(self, event: str) -> None:
        lane = self.lane
        attempts = lane.attempts if lane.event == event else 0
        place = self._processor.place(self.partition)
        await self._scripts.call(protocol.attempt(place, lane.token, "start", event, attempts))
