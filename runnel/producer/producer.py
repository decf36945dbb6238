"""Sends records in order per partition, each at most once even if replies are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any

from runnel import protocol
from runnel.connection.durability import AckRequirement, Durability, check_possible
from runnel.errors import ConfigError, RecordTooLarge
from runnel.log import logger_of
from runnel.producer.call_batcher import CallBatcher
from runnel.producer.partition_producer import PartitionProducer
from runnel.producer.single_flight import SingleFlight, copy_of
from runnel.protocol.scripts import Scripts
from runnel.stream import Sent, StreamSpec

logger = logger_of("runnel.producer")

#: Entries in one append: enough for a cheap call, few enough to block the server only briefly.
BATCH = 500
#: Bytes in one append, for the same reason.
BATCH_BYTES = 1_000_000
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
        self._call = partial(scripts.call, ack=ack)
        #: One round trip, for an append that is sent alone, if that suffices.
        self._roundtrip = scripts.roundtrip if ack is None else None
        self._partitions: dict[tuple[str, int], PartitionProducer] = {}
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
        policy = "refuse" if drop_oldest is False else _dropping(drop_oldest)
        if len(records) == 1:  # The usual case: one call, which needs no task of its own.
            (record,) = records
            try:
                entry = stream.codec.encode(record, headers)
                if (size := sum(map(len, entry))) > max_bytes:
                    raise _too_large(stream, 0, size, max_bytes)
                partition = stream.partition(record)
                found = self._partitions.get((stream.name, partition))
                partition_producer = found or self._partition_producer(stream, partition)
                until = 0.0 if wait is False else _deadline(wait)
                id_ = await partition_producer.append_one(entry, policy, until, self._call)
            except Exception as error:
                _with_sent(error, [None])
                raise
            return [Sent(partition, id_)]
        sent: list[Sent | None] = [None] * len(records)
        try:
            until = _deadline(wait)
            shares = _shares(stream, records, headers, max_bytes)
            return await self._send_shares(stream, shares, sent, policy, until)
        except BaseException as error:
            _with_sent(error, sent)
            raise

    async def _send_shares(
        self,
        stream: StreamSpec[Any],
        shares: Sequence[_Share],
        sent: list[Sent | None],
        policy: str,
        until: float,
    ) -> list[Sent]:
        """Send each share to its partition. Partitions and ids go into `sent`, even on errors."""
        call = self._batcher.call
        appends = [
            self._partition_producer(stream, each.partition).append(
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

    async def count_producers(self, key: str) -> int:
        """How many producers a partition remembers. `key` is that of their hash."""
        (reply,) = await self.deployment.send([(key, ("HLEN", key))])
        if isinstance(reply, Exception):
            raise reply
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

    def _partition_producer(self, stream: StreamSpec[Any], partition: int) -> PartitionProducer:
        found = self._partitions.get((stream.name, partition))
        if found is None:
            found = self._partitions[stream.name, partition] = PartitionProducer(
                stream, partition, self, self._roundtrip
            )
        return found


def _deadline(wait: bool | float) -> float:
    """Until when to wait for room, by the loop's clock."""
    if wait is True or wait is False:
        return inf if wait else 0.0
    if not isinstance(wait, (int, float)) or not wait >= 0:
        raise ConfigError(f"send(wait=…) takes True, False or a number of seconds, not {wait!r}")
    return asyncio.get_running_loop().time() + wait


def _dropping(drop_oldest: object) -> str:
    """The policy for any value but False. Only True is allowed: "no" must not drop events."""
    if drop_oldest is not True:
        raise ConfigError(f"send(drop_oldest=…) takes True or False, not {drop_oldest!r}")
    return "drop_oldest"


def _too_large(stream: StreamSpec[Any], position: int, size: int, most: int) -> RecordTooLarge:
    return RecordTooLarge(
        f"stream {stream.name}: record {position} takes {size} bytes, the setting "
        f"max_record_bytes allows {most}"
    )


def _shares(
    stream: StreamSpec[Any],
    records: Sequence[Any],
    headers: dict[str, str] | None,
    max_bytes: int,
) -> list[_Share]:
    """The records of each partition."""
    most = max(1, min(BATCH, stream.partition_size // 2))
    shares: dict[int, _Share] = {}
    for position, record in enumerate(records):
        entry = stream.codec.encode(record, headers)
        if (size := sum(map(len, entry))) > max_bytes:
            raise _too_large(stream, position, size, max_bytes)
        partition = stream.partition(record)
        if partition in shares:
            shares[partition].add(position, entry, size, most)
        else:
            shares[partition] = _Share(partition, position, entry, size)
    return list(shares.values())


class _Share:
    """The records of one send that go to one partition.

    `positions` are theirs among all records, `batches` their entries, in batches that are not too
    large for the server or for the partition, `ids` the ids of those that were sent. A share begins
    with one record; `size` is the size of its entry in bytes.
    """

    __slots__ = ("_bytes", "batches", "ids", "partition", "positions")

    def __init__(self, partition: int, position: int, entry: list[bytes], size: int) -> None:
        self.partition = partition
        self.positions = [position]
        self.batches = [[entry]]
        self.ids: list[str] = []
        self._bytes = size

    def add(self, position: int, entry: list[bytes], size: int, most: int) -> None:
        """Add a record. A batch has at most `most` records."""
        batch = self.batches[-1]
        if len(batch) >= most or self._bytes + size > BATCH_BYTES:
            self.batches.append(batch := [])
            self._bytes = 0
        batch.append(entry)
        self.positions.append(position)
        self._bytes += size


def _with_sent(error: BaseException, sent: Sequence[Any]) -> None:
    """Store in an error of `send`, for each record, its `Sent` if it was sent, else None."""
    vars(error)["sent"] = list(sent)
