"""Claims partitions, and claims them again where events may have been lost, which tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from redis.exceptions import RedisError, ResponseError

from runnel import protocol
from runnel.core.partition import Lane
from runnel.delivery.partition_queue import Lease
from runnel.errors import Gone, ProtocolError, Unregistered
from runnel.log import logger_of
from runnel.processor import Processor
from runnel.protocol import Claimed
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Link

logger = logger_of("runnel.worker")


class Claims:
    """One member's claims to the partitions of one processor."""

    def __init__(self, processor: Processor, link: Link, member: str) -> None:
        self._processor = processor
        self._link = link
        self._member = member
        #: Partition -> events processed when its counts were last found to agree.
        self._counted: dict[int, int] = {}
        #: Whose turn it is to be claimed again at rest.
        self._turn = 0

    async def claim(
        self, partition: int, grant: int, nonce: str, lane: Lane | None = None
    ) -> Claimed:
        """Claim, or claim a lane again: mend what vanished, and accept a loss once it has been said
        aloud.

        Raises ProtocolError, redis-py's errors or OSError.
        """
        place, agreement = self._processor.place(partition), self._processor.stream.agreement
        accept: int | None = None
        while True:
            call = protocol.claim(place, agreement, self._member, grant, nonce, accept)
            if lane is not None:
                lane.ask()
            try:
                claimed = protocol.read_claim(await self._link.gathered(call))
            except (Gone, Unregistered) as error:
                if isinstance(error, Unregistered) and error.details.get("removed") == "1":
                    raise
                rebalance_log.mended(partition, error)
                # What others made of the stream since, with another partition count, has no such
                # partition.
                await self._link.call(protocol.agree(self._processor.place(0).prefix, agreement))
                await self._link.call(protocol.register(place, agreement, self._processor.start))
                await self._link.announce(self._processor)
                continue
            if claimed.lost is None:
                self._counted[partition] = claimed.processed
                return claimed
            logger.error(
                "processor %s, partition %d: %s %d unfinished events have left the stream; "
                "going on behind %s",
                self._processor.name,
                partition,
                "exactly" if claimed.exact else "at least",
                claimed.lost,
                claimed.checkpoint,
            )
            accept = claimed.lost

    async def again(self, lease: Lease) -> bool:
        """Claim under the same token: at once if there is a doubt to settle, else when the lane is
        at rest.

        Returns False if that was refused, not answered or of no use any more.
        """
        lane = lease.lane
        if lane.doubt is None:
            await lease.rest()
        if lane.over or not (lane.open or lane.resting or lane.doubt):
            return False
        try:
            claimed = await self.claim(lane.partition, lane.grant, lane.token.nonce, lane)
            rests = claimed.paused or claimed.quarantined
            if claimed.epoch != lane.token.epoch or (lane.resting and not rests):
                # The partition had lost this lease, and the claim made another one; or it had
                # lost what made it rest. Under the next grant it starts afresh.
                lane.end()
            lane.reclaimed(claimed)
            outage_log.answered("check of a partition")
            return True
        except ProtocolError as error:
            if not lane.draining:  # Else it has been given back meanwhile, and nothing is lost.
                rebalance_log.lost(lane.partition, error)
            lane.end()
        except (RedisError, OSError) as error:
            outage_log.failed("check of a partition", error)
            self._counted.pop(lane.partition, None)
            if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
                lane.end()
        finally:
            lane.counting = False
        return False

    def due(self, lanes: Sequence[Lane]) -> Iterator[Lane]:
        """Those of the lanes held that are to be claimed again now.

        Where all is finished, a repeated claim tells if the counts agree: it finds entries that
        others deleted one by one ahead of the checkpoint, which no read shows.

        One more partition at rest has its turn each time, though nothing happened there: what it
        may have lost meanwhile, such as the key that says who reads it, would else be missed
        until its next event, which a producer may not be able to send.
        """
        resting = [each for each in lanes if (each.open and each.at_rest) or each.resting]
        self._turn += 1
        for i, lane in enumerate(resting):
            moved = lane.processed != self._counted.get(lane.partition)
            if moved or i == self._turn % len(resting):
                self._counted[lane.partition] = lane.processed
                yield lane
        for lane in lanes:
            if lane.suspect:  # As it still is after a claim that was not answered.
                yield lane
