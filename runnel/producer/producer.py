"""Sends records in order per partition, each at most once even if replies are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any

from runnel import protocol
from runnel.connection.durability import AckRequirement, Durability, check_possible
from runnel.delayed import Delayed, Due, log_lost
from runnel.log import logger_of
from runnel.producer.call_batcher import CallBatcher
from runnel.producer.delaying import cancel, send_later
from runnel.producer.error_copies import copy_of, with_sent
from runnel.producer.numbered_partition import NumberedPartition
from runnel.producer.partition_producer import PartitionProducer
from runnel.producer.shares import Share, once_of, shares_of, too_large, wait_until, when_full
from runnel.producer.single_flight import SingleFlight
from runnel.protocol.scripts import Scripts
from runnel.stream import Sent, StreamSpec

logger = logger_of("runnel.producer")

#: Seconds between two warnings about lost appends: a failover loses those of many partitions.
_WARN_EVERY = 60.0
#: Seconds for which a declaration of a stream counts when the first append to a partition is made:
#: the append must not recreate a stream that was lost meanwhile.
_DECLARED_FOR = 5.0


class Producer:
    """Sends records, with one append in flight per partition, and repeats appends without a reply.

    The partition remembers the producer's last sequence number, so the repeat of an append that did
    arrive returns the ids of the first time. `delivery_timeout` is the number of seconds for which
    an append is repeated until it is acknowledged as `durability` requires.
    """

    def __init__(
        self, scripts: Scripts, delivery_timeout: float, durability: Durability = "primary"
    ) -> None:
        self.delivery_timeout = delivery_timeout
        self.deployment = scripts.deployment
        self._scripts = scripts
        self._durability = durability
        ack = AckRequirement.of(durability)
        self._batcher = CallBatcher(scripts, ack)
        #: Makes a call in a round trip with others; makes one at once, without a task of its own.
        self.call_with_others = self._batcher.call
        self.call = partial(scripts.call, ack=ack)
        #: One round trip, for an append that is sent alone, if that suffices.
        self._roundtrip = scripts.roundtrip if ack is None else None
        self._partitions: dict[tuple[str, int], PartitionProducer] = {}
        #: The same for each numbered producer, by the name of the sender, too.
        self._numbered: dict[tuple[str, str, int], NumberedPartition] = {}
        #: Stream -> when it was declared, by the loop's clock.
        self._declared: dict[str, float] = {}
        self._declaring = SingleFlight()
        self._warned_at = -inf

    async def close(self) -> None:
        """Close the connections, even when it is cancelled meanwhile."""
        async with self._scripts.client:
            await self._batcher.close()

    def abandon(self) -> None:
        """Close the connections when the event loop does not run any more."""
        self._scripts.client.abandon()

    async def send(
        self,
        stream: StreamSpec[Any],
        records: Sequence[Any],
        *,
        headers: dict[str, str] | None = None,
        max_bytes: int,
        wait: bool | float = False,
        drop_oldest: bool = False,
    ) -> list[Sent]:
        """Send records and return the partition and id of each, in the same order.

        Everything is encoded before anything is sent. `wait` waits for room, for ever or for that
        many seconds. Raises EncodeError, PartitionKeyError, Full, or redis-py's errors. The
        attribute `sent` of the error has the partition and id of each record that was sent.
        """
        policy = when_full(stream, drop_oldest)
        if len(records) == 1:  # The usual case: one call, which needs no task of its own.
            (record,) = records
            try:
                entry = stream.codec.encode(record, headers)
                if (size := sum(map(len, entry))) > max_bytes:
                    raise too_large(stream, 0, size, max_bytes)
                partition = stream.partition(record)
                found = self._partitions.get((stream.name, partition))
                partition_producer = found or self.partition_producer(stream, partition)
                until = 0.0 if wait is False else wait_until(wait)
                id_ = await partition_producer.append_one(entry, policy, until, self.call)
            except Exception as error:
                with_sent(error, [None])
                raise
            return [Sent(partition, id_)]
        sent: list[Sent | None] = [None] * len(records)
        try:
            until = wait_until(wait)
            shares = shares_of(stream, records, headers, max_bytes)
            return await self._send_shares(stream, shares, sent, policy, until)
        except BaseException as error:
            with_sent(error, sent)
            raise

    async def send_once(
        self,
        stream: StreamSpec[Any],
        records: Sequence[Any],
        dedupe: object,
        window: float,
        *,
        headers: dict[str, str] | None = None,
        max_bytes: int,
        wait: bool | float = False,
        drop_oldest: bool = False,
    ) -> list[Sent]:
        """Send one record unless one was sent under the key `dedupe` in the last `window` seconds:
        then this returns where that one is.

        The other options and the errors are those of `send`.
        """
        policy = when_full(stream, drop_oldest)
        # The repeat of a call that got no answer must find the key.
        once = once_of(dedupe, len(records), max(window, 2 * self.delivery_timeout))
        try:
            (share,) = shares_of(stream, records, headers, max_bytes)
            partition_producer = self.partition_producer(stream, share.partition)
            ((entry,),) = share.batches
            until = wait_until(wait)
            id_ = await partition_producer.append_once(once, entry, policy, until, self.call)
        except Exception as error:
            with_sent(error, [None])
            raise
        return [Sent(share.partition, id_)]

    async def send_later(
        self, stream: StreamSpec[Any], records: Sequence[Any], due: Due, **options: Any
    ) -> list[Delayed]:
        """Send records that enter the log when they are due (see `delaying.send_later`)."""
        return await send_later(self, stream, records, due, **options)

    async def cancel(self, stream: StreamSpec[Any], delayed: Delayed) -> bool:
        """Remove an event that waits. Returns whether it did."""
        return await cancel(self, stream, delayed)

    async def _send_shares(
        self,
        stream: StreamSpec[Any],
        shares: Sequence[Share],
        sent: list[Sent | None],
        policy: str,
        until: float,
    ) -> list[Sent]:
        """Send each share to its partition. Partitions and ids go into `sent`, even on errors."""
        call = self.call_with_others
        appends = [
            self.partition_producer(stream, each.partition).append(
                each.batches, each.ids, policy, until, call
            )
            for each in shares
        ]
        try:
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
        finally:
            for share in shares:
                for position, id_ in zip(share.positions, share.ids, strict=False):
                    sent[position] = Sent(share.partition, id_)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise copy_of(outcome) if isinstance(outcome, Exception) else outcome
        return [each for each in sent if each is not None]

    async def declare(self, stream: StreamSpec[Any]) -> None:
        """Declare a stream unless it was declared recently, then wait until no call of a cancelled
        caller is under way.

        Callers that need the same declaration share it, and its error.
        """
        now = asyncio.get_running_loop().time()
        if self._declared.get(stream.name, -inf) < now - _DECLARED_FOR:
            await self._declaring.run(stream.name, partial(self._declare, stream))
        await self._batcher.wait_for_orphans()
        await self.deployment.wait_for_orphans()

    async def declare_partition(self, stream: StreamSpec[Any], partition: int) -> None:
        """Declare a stream again, and one of its partitions. Raises Mismatch if the stream has
        another partition count by now."""
        await self._declare(stream)
        await self._scripts.call(protocol.declare(stream.prefix(partition), stream.contract))

    async def promote(self, stream: StreamSpec[Any], partition: int, policy: str) -> None:
        """Move delayed events that are due into the log. Raises Full, redis-py's errors, or
        Mismatch."""
        size, prefix = stream.partition_size, stream.prefix(partition)
        call = protocol.promote(prefix, stream.contract, size, policy)
        if lost := protocol.read_promote(await self.call(call)).lost:
            log_lost(stream.name, partition, lost)

    async def count_producers(self, key: str) -> int:
        """How many producers a partition remembers. `key` is that of their hash."""
        (reply,) = await self.deployment.ask([(key, ("HLEN", key))])
        return int(reply)

    def report_loss(self, stream: str, partition: int) -> None:
        """Log that a partition has lost acknowledged appends: once for the losses of a failover."""
        now = asyncio.get_running_loop().time()
        if now >= self._warned_at + _WARN_EVERY:
            self._warned_at = now
            logger.warning(
                "stream %s, partition %d, perhaps others: Redis has lost appends that it had "
                "acknowledged, as in a failover; sending continues as a new producer",
                stream,
                partition,
            )

    async def _declare(self, stream: StreamSpec[Any]) -> None:
        await check_possible(await self.deployment.primaries(), self._durability)
        await self._scripts.call(protocol.declare(stream.prefix(0), stream.contract))
        self._declared[stream.name] = asyncio.get_running_loop().time()

    def partition_producer(self, stream: StreamSpec[Any], partition: int) -> PartitionProducer:
        """Where it sends to a partition."""
        found = self._partitions.get((stream.name, partition))
        if found is None:
            found = self._partitions[stream.name, partition] = PartitionProducer(
                stream, partition, self, self._roundtrip
            )
        return found

    def numbered_partition(
        self, stream: StreamSpec[Any], partition: int, sender: str
    ) -> NumberedPartition:
        """Where a numbered producer sends to a partition: the same for all its objects."""
        key = (sender, stream.name, partition)
        found = self._numbered.get(key)
        if found is None:
            found = self._numbered[key] = NumberedPartition(stream, partition, self, sender)
        return found
