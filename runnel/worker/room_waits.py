"""Commits that wait for room in another stream: in the log less and less often, and in `inspect`.

Nothing fails and nothing is lost meanwhile. The partition goes on once there is room, which a
processor that reads the other stream makes. `inspect` learns of commits, too, that Redis refuses
for another reason, such as a missing permission.
"""

from __future__ import annotations

from redis.exceptions import RedisError, ResponseError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.errors import BadArgument, Full, ProtocolError
from runnel.log import logger_of
from runnel.operations.figures import PARKED
from runnel.processor import Processor
from runnel.worker.backend import Backend

logger = logger_of("runnel.worker")

#: Refusals by Redis before `inspect` is told: a failover brings some.
TRIES = 4


class RoomWaits:
    """The partitions of one processor whose commits wait for room."""

    def __init__(self, processor: Processor, backend: Backend) -> None:
        self._processor = processor
        self._backend = backend
        #: Partition -> how often its commit was refused.
        self.refusals: dict[PartitionState, int] = {}
        #: Those that wait for room.
        self._for_room: set[PartitionState] = set()

    async def refused(self, state: PartitionState, error: Full) -> None:
        """The commit of this partition found no room."""
        self._for_room.add(state)
        if self._count(state).bit_count() > 1:  # Less and less often.
            return
        reason, further = error.reason, "its commit waits, and goes on once there is room"
        if error.details.get("sink") == state.keys.log and self._is_own(error):
            reason = "it emits more to the partition that it reads than it finishes there"
            further = "this ends only if you give the stream a larger partition_size"
        name = error.sink or ""
        if error.details.get("sink") == protocol.parked_names(state.keys)[0]:
            name, reason = PARKED, f"more than {error.details.get('limit')} would be parked"
            further += f", which `runnel dead replay {self._processor.target}` or `drop` makes"
        sink = self._processor.sink
        if sink is not None and sink.name == error.sink:
            command = f"runnel processor dead-letters {self._processor.target}"
            further += f"; `{command}` shows what is in it"
        logger.error(
            "processor %s, partition %d: no room in %s, because %s; %s",
            self._processor.name,
            state.partition,
            name,
            reason,
            further,
            extra={"partition": state.partition},
        )
        await self._report(state, name, reason)

    async def refused_by_redis(
        self, state: PartitionState, error: ResponseError | BadArgument
    ) -> None:
        """Redis, or the script, refuses the commit of this partition, again and again: tell
        `inspect`. The log has it."""
        count = self._count(state)
        if count >= TRIES and count.bit_count() == 1:
            await self._report(state, "", str(error))

    def _count(self, state: PartitionState) -> int:
        count = self.refusals[state] = self.refusals.get(state, 0) + 1
        return count

    async def _report(self, state: PartitionState, stream: str, reason: str) -> None:
        call = protocol.attempt(
            state.keys, state.token, "wait", state.checkpoint, 0, (stream, reason)
        )
        try:
            await self._backend.call(call)
        except (RedisError, OSError, ProtocolError) as problem:  # It is for `inspect` only.
            logger.debug("could not report that a commit waits: %s", problem)

    def _is_own(self, error: Full) -> bool:
        return error.details.get("processor") == self._processor.name

    def over(self, state: PartitionState) -> None:
        """A commit of this partition was applied, or the partition is not held any more."""
        self.refusals.pop(state, None)
        if state not in self._for_room:
            return
        self._for_room.remove(state)
        if not state.ended:
            logger.warning(
                "processor %s, partition %d: there is room again, its commit was applied",
                self._processor.name,
                state.partition,
                extra={"partition": state.partition},
            )
