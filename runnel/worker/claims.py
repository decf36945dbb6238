"""Claims partitions, and claims them again where events may have been lost, which tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from redis.exceptions import RedisError, ResponseError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import Missing, ProtocolError, Unregistered
from runnel.processor import Processor
from runnel.protocol import ClaimReply
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.losses import Losses


class Claims:
    """One member's claims to the partitions of one processor."""

    def __init__(self, processor: Processor, backend: Backend, member: str) -> None:
        self._processor = processor
        self._backend = backend
        self._member = member
        self.losses = Losses(processor.name)
        #: Partition -> events processed when its counts were last found to agree.
        self._counted: dict[int, int] = {}
        #: Whose turn it is to be claimed again at rest.
        self._turn = 0

    async def claim(
        self, partition: int, grant: int, nonce: str, state: PartitionState | None = None
    ) -> ClaimReply:
        """Claim, or claim a partition again: mend what vanished, and accept a loss once it is told.

        Raises ProtocolError, redis-py's errors or OSError.
        """
        place, contract = self._processor.keys(partition), self._processor.stream.contract
        accept: int | None = None
        while True:
            call = protocol.claim(place, contract, self._member, grant, nonce, accept)
            if state is not None:
                state.ask()
            try:
                claimed = protocol.read_claim(await self._backend.gathered(call))
            except (Missing, Unregistered) as error:
                if isinstance(error, Unregistered) and error.details.get("removed") == "1":
                    raise
                rebalance_log.mended(partition, error)
                # What others made of the stream since, with another partition count, has no such
                # partition.
                await self._backend.call(protocol.declare(self._processor.keys(0).prefix, contract))
                await self._backend.call(protocol.register(place, contract, self._processor.start))
                await self._backend.announce(self._processor)
                continue
            if claimed.lost is None:
                self._counted[partition] = claimed.processed
                return claimed
            more = claimed.lost - (accept or 0)  # Others may remove events meanwhile.
            self.losses.add(partition, more, claimed.exact, claimed.checkpoint)
            accept = claimed.lost

    async def again(self, queue: PartitionQueue) -> bool:
        """Claim under the same token: at once if there is a doubt to settle, else when the
        partition is at rest.

        Returns False if that was refused, not answered or of no use any more.
        """
        state = queue.state
        if state.unverified_from is None:
            await queue.rest()
        if state.over or not (state.open or state.resting or state.unverified_from):
            return False
        try:
            claimed = await self.claim(state.partition, state.grant, state.token.nonce, state)
            rests = claimed.paused or claimed.quarantined
            if claimed.epoch != state.token.epoch or (state.resting and not rests):
                # The partition had lost this lease, and the claim made another one; or it had
                # lost what made it rest. Under the next grant it starts afresh.
                state.end()
            state.reclaimed(claimed)
            outage_log.answered("check of a partition")
            return True
        except ProtocolError as error:
            if not state.draining:  # Else it has been given back meanwhile, and nothing is lost.
                rebalance_log.lost(state.partition, error)
            state.end()
        except (RedisError, OSError) as error:
            outage_log.failed("check of a partition", error)
            self._counted.pop(state.partition, None)
            if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
                state.end()
        finally:
            state.counting = False
        return False

    def due(self, states: Sequence[PartitionState]) -> Iterator[PartitionState]:
        """Those of the partitions held that are to be claimed again now.

        Where all is finished, a repeated claim tells if the counts agree: it finds entries that
        others deleted one by one ahead of the checkpoint, which no read shows.

        One more partition at rest has its turn each time, though nothing happened there: what it
        may have lost meanwhile, such as the key that says who reads it, would else be missed
        until its next event, which a producer may not be able to send.
        """
        resting = [each for each in states if (each.open and each.at_rest) or each.resting]
        self._turn += 1
        for i, state in enumerate(resting):
            moved = state.processed != self._counted.get(state.partition)
            if moved or i == self._turn % len(resting):
                self._counted[state.partition] = state.processed
                yield state
        for state in states:
            if state.suspect:  # As it still is after a claim that was not answered.
                yield state
