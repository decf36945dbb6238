"""Claims partitions. Reclaims one that is held if its log may have lost events: the reply tells
how many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from redis.exceptions import RedisError, ResponseError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import Missing, ProtocolError, Unregistered
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.protocol import ClaimReply
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.losses import Losses
from runnel.worker.table_reads import wrong_key

logger = logger_of("runnel.worker")

#: Seconds before a claim is repeated whose reply and what was read contradict each other, at most.
LONGEST_PAUSE = 1.0


class Claims:
    """One member's claims of the partitions of one processor."""

    def __init__(self, processor: Processor, backend: Backend, member: str) -> None:
        self._processor = processor
        self._backend = backend
        self._member = member
        self.losses = Losses(processor.name)
        #: Partition -> events processed when it was last claimed or due.
        self._counted: dict[int, int] = {}
        #: Which of the settled partitions is reclaimed next.
        self._turn = 0
        #: Partitions of which a table could not be used when they were held last.
        self._wrong_tables: set[int] = set()

    async def claim(
        self, partition: int, grant: int, nonce: str, state: PartitionState | None = None
    ) -> ClaimReply:
        """Claim or reclaim a partition. Restore keys that were lost, and accept a loss of
        events once it is logged.

        Raises ProtocolError, redis-py's errors or OSError.
        """
        partition_keys = self._processor.keys(partition)
        contract = self._processor.stream.contract
        if partition in self._wrong_tables and (key := await self._wrong_table(partition)):
            raise ResponseError(f"WRONGTYPE {key} is not what Runnel has under this name")
        accept: int | None = None
        while True:
            call = protocol.claim(partition_keys, contract, self._member, grant, nonce, accept)
            if state is not None:
                state.before_reclaim()
            try:
                claimed = protocol.read_claim(await self._backend.call_batched(call))
            except (Missing, Unregistered) as error:
                if isinstance(error, Unregistered) and error.details.get("removed") == "1":
                    raise
                rebalance_log.restored(partition, error)
                # Declare first: if others have declared the stream with another partition count,
                # it may not have this partition.
                await self._backend.call(protocol.declare(self._processor.keys(0).prefix, contract))
                await self._backend.call(
                    protocol.register(partition_keys, contract, self._processor.start)
                )
                await self._backend.announce(self._processor)
                continue
            if claimed.lost is None:
                self._counted[partition] = claimed.processed
                return claimed
            more = claimed.lost - (accept or 0)  # Others may remove events meanwhile.
            self.losses.add(partition, more, claimed.exact, claimed.checkpoint)
            accept = claimed.lost

    async def reclaim(self, queue: PartitionQueue) -> bool:
        """Claim again under the same token: at once if the cursor is unverified, otherwise once the
        partition is settled.

        Returns False if the claim was refused, got no reply or is of no use any more.
        """
        state = queue.state
        if state.unverified_from is None:
            await queue.wait_settled()
        if state.contradictions > 1:
            # Reads still go to a primary that was replaced, for as long as it does not know.
            await asyncio.sleep(min(0.05 * state.contradictions, LONGEST_PAUSE))
        if state.ended or not (state.open or state.held_stopped or state.unverified_from):
            return False
        try:
            claimed = await self.claim(state.partition, state.grant, state.token.nonce, state)
            paused = claimed.paused or claimed.quarantined
            if claimed.epoch != state.token.epoch or (state.held_stopped and not paused):
                # The partition had lost this lease, and the claim made a new one; or it had lost
                # its pause or quarantine. End it: it is claimed under the next grant.
                state.end()
            state.reclaimed(claimed)
            outage_log.answered("claim again")
            return True
        except ProtocolError as error:
            if not state.draining:  # Otherwise it was released meanwhile, and nothing is lost.
                rebalance_log.lost(state.partition, error)
            state.end()
        except (RedisError, OSError) as error:
            outage_log.failed("claim again", error)
            self._counted.pop(state.partition, None)
            if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
                state.end()
        finally:
            state.counting = False
        return False

    async def check_tables(self, queue: PartitionQueue) -> None:
        """End a lease under which a table cannot be read or written, because another program has
        written its key. The partition is claimed again once that key is gone."""
        state = queue.state
        try:
            if await self._wrong_table(state.partition):
                state.end()
        except (RedisError, OSError) as error:
            outage_log.failed("check of tables", error)
        queue.changed.set()

    async def _wrong_table(self, partition: int) -> str | None:
        """The key of a table that has another type than Runnel gives it. Logs it once."""
        key = await wrong_key(self._backend, self._processor, partition)
        outage_log.answered("check of tables")
        if key is None:
            self._wrong_tables.discard(partition)
        elif partition not in self._wrong_tables:
            self._wrong_tables.add(partition)
            logger.error(
                "processor %s, partition %d: another program has written the key %s, so its table "
                "cannot be used. The partition is released; it is claimed again once that key is "
                "deleted or renamed. Other partitions go on",
                self._processor.name,
                partition,
                key,
                extra={"partition": partition},
            )
        return key

    def due(self, states: Sequence[PartitionState]) -> Iterator[PartitionState]:
        """Those of the held partitions that must be reclaimed now.

        A settled partition that has processed events since its last claim is due: the claim checks
        that the counts agree. So it finds entries that others deleted one by one ahead of the
        checkpoint, which no read shows.

        One more settled partition is due each time, in turn, although it has processed nothing: its
        keys may be lost. Otherwise nobody would notice that until its next event, and to send that
        may fail because they are lost.
        """
        settled = [each for each in states if (each.open and each.settled) or each.held_stopped]
        self._turn += 1
        for i, state in enumerate(settled):
            moved = state.processed != self._counted.get(state.partition)
            if moved or i == self._turn % len(settled):
                self._counted[state.partition] = state.processed
                yield state
        for state in states:
            if state.loss_suspected:  # Still, if the last claim got no reply.
                yield state
