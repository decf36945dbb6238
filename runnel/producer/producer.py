"""Sending: in order per partition, at most once per event, whatever happens to a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any

from runnel import protocol
from runnel.connection.durability import AckRequirement, Durability, check_possible
from runnel.errors import ConfigError, RecordTooLarge, another, with_sent
from runnel.log import logger_of
from runnel.producer.batching import CallBatcher
from runnel.producer.partition_producer import PartitionProducer
from runnel.producer.single_flight import SingleFlight
from runnel.protocol.scripts import Scripts
from runnel.stream import Sent, StreamSpec

logger = logger_of("runnel.producer")

#: Entries in one append: enough to make the call cheap, few enough not to hold up the server.
BATCH = 500
#: Bytes in one append, for the same reason.
BATCH_BYTES = 1_000_000
#: Seconds in which partitions that went back are told of once: a failover takes many back.
_TOLD_FOR = 60.0
#: Seconds for which an agreement on a stream is taken to stand, for one who begins to send to a
#: partition: that must not make one that the stream has lost meanwhile.
_AGREED_FOR = 5.0


class Producer:
    """One sender with one append in flight per partition; a lost reply is asked for again.

    The partition remembers the producer's last sequence number, so an append that did arrive is
    answered with the ids of the first time. `resend` is for how many seconds it is repeated, or
    waited for until it is as durable as `durability` says.
    """

    def __init__(self, scripts: Scripts, resend: float, durability: Durability = "primary") -> None:
        self.resend = resend
        self._scripts = scripts
        self._durability = durability
        confirmation = AckRequirement.of(durability)
        self._together = CallBatcher(scripts, confirmation)
        self._alone = partial(scripts.call, confirmation=confirmation)
        #: The short way for an append that is sent alone, if there is one.
        self._short = scripts.roundtrip if confirmation is None else None
        self._partitions: dict[tuple[str, int], PartitionProducer] = {}
        #: Streams that all clients agree on, with the moment when that was found out, and how.
        self._agreed: dict[str, float] = {}
        self._declaring = SingleFlight()
        self._told_at = -inf

    async def close(self) -> None:
        """Close the connections, even when it is cancelled meanwhile."""
        async with self._scripts.client:
            await self._together.close()

    def let_go(self) -> None:
        """Close the connections when the event loop does not run any more."""
        self._scripts.client.let_go()

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
        """Send records; the answer has their places in the same order.

        Everything is encoded before anything is sent. `wait` waits for room, for ever or for that
        many seconds. Raises EncodeError, PartitionKeyError, Full, or redis-py's errors, each with
        the places of those that were sent in its attribute `sent`.
        """
        policy = "refuse" if drop_oldest is False else _dropping(drop_oldest)
        if len(records) == 1:  # As most are: one call, which needs no task of its own.
            (record,) = records
            try:
                entry = stream.codec.encode(record, headers)
                if (size := sum(map(len, entry))) > max_bytes:
                    raise _too_large(stream, 0, size, max_bytes)
                partition = stream.partition(record)
                found = self._partitions.get((stream.name, partition))
                partition_producer = found or self._partition_producer(stream, partition)
                until = 0.0 if wait is False else _moment(wait)
                id_ = await partition_producer.append_one(entry, policy, until, self._alone)
            except Exception as error:
                with_sent(error, [None])
                raise
            return [Sent(partition, id_)]
        sent: list[Sent | None] = [None] * len(records)
        try:
            until = _moment(wait)
            shares = _shared_out(stream, records, headers, max_bytes)
            return await self._send_shares(stream, shares, sent, policy, until)
        except BaseException as error:
            with_sent(error, sent)
            raise

    async def _send_shares(
        self,
        stream: StreamSpec[Any],
        shares: Sequence[_Share],
        sent: list[Sent | None],
        policy: str,
        until: float,
    ) -> list[Sent]:
        """Send to each partition what it gets. The places go into `sent`, whatever happens."""
        call = self._together.call
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
                raise another(outcome) if isinstance(outcome, Exception) else outcome
        return [each for each in sent if each is not None]

    async def open(self, stream: StreamSpec[Any]) -> None:
        """Have all clients agree on a stream, and what was cancelled behind us.

        Whoever needs an agreement that is under way waits for it, and fails with it.
        """
        now = asyncio.get_running_loop().time()
        if self._agreed.get(stream.name, -inf) < now - _AGREED_FOR:
            await self._declaring.run(stream.name, partial(self._declare, stream))
        await self._together.settled()
        await self._scripts.deployment.settled()

    async def open_again(self, stream: StreamSpec[Any], partition: int) -> None:
        """Agree on a stream again, and on one of its partitions. Raises Mismatch if by now it has
        another number of them."""
        await self._declare(stream)
        await self._scripts.call(protocol.declare(stream.prefix(partition), stream.contract))

    async def remembered(self, producers: str) -> int:
        """How many producers a partition remembers, by the key of their hash."""
        (reply,) = await self._scripts.deployment.send([(producers, ("HLEN", producers))])
        if isinstance(reply, Exception):
            raise reply
        return int(reply)

    def went_back(self, stream: str, partition: int) -> None:
        """Say that a partition has lost what it had acknowledged: once for what befalls many."""
        now = asyncio.get_running_loop().time()
        if now >= self._told_at + _TOLD_FOR:
            self._told_at = now
            logger.warning(
                "stream %s, partition %d, perhaps others: Redis has lost appends that it had "
                "acknowledged, as in a failover; sending goes on as a new producer",
                stream,
                partition,
            )

    async def _declare(self, stream: StreamSpec[Any]) -> None:
        await check_possible(await self._scripts.deployment.primaries(), self._durability)
        await self._scripts.call(protocol.declare(stream.prefix(0), stream.contract))
        self._agreed[stream.name] = asyncio.get_running_loop().time()

    def _partition_producer(self, stream: StreamSpec[Any], partition: int) -> PartitionProducer:
        found = self._partitions.get((stream.name, partition))
        if found is None:
            found = self._partitions[stream.name, partition] = PartitionProducer(
                stream, partition, self, self._short
            )
        return found


def _moment(wait: bool | float) -> float:
    """Until when to wait for room, by the loop's clock."""
    if wait is True or wait is False:
        return inf if wait else 0.0
    if not isinstance(wait, (int, float)) or not wait >= 0:
        raise ConfigError(f"send(wait=…) takes True, False or a number of seconds, not {wait!r}")
    return asyncio.get_running_loop().time() + wait


def _dropping(drop_oldest: object) -> str:
    """What that says which is not False: taken for true, "no" would drop events."""
    if drop_oldest is not True:
        raise ConfigError(f"send(drop_oldest=…) takes True or False, not {drop_oldest!r}")
    return "drop_oldest"


def _too_large(stream: StreamSpec[Any], position: int, size: int, most: int) -> RecordTooLarge:
    return RecordTooLarge(
        f"stream {stream.name}: record {position} takes {size} bytes, the setting "
        f"max_record_bytes allows {most}"
    )


def _shared_out(
    stream: StreamSpec[Any],
    records: Sequence[Any],
    headers: dict[str, str] | None,
    max_bytes: int,
) -> list[_Share]:
    """What each partition gets of the records."""
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
    """What one send has for one partition: the `positions` of records among all, and their entries
    in batches, none too large for the server or for the partition; and what came of them.

    It begins with one record; `size` is what its entry takes, in bytes.
    """

    __slots__ = ("_bytes", "batches", "ids", "partition", "positions")

    def __init__(self, partition: int, position: int, entry: list[bytes], size: int) -> None:
        self.partition = partition
        self.positions = [position]
        self.batches = [[entry]]
        #: Of the entries that were sent.
        self.ids: list[str] = []
        self._bytes = size

    def add(self, position: int, entry: list[bytes], size: int, most: int) -> None:
        """One more record; `most` may be in a batch."""
        batch = self.batches[-1]
        if len(batch) >= most or self._bytes + size > BATCH_BYTES:
            self.batches.append(batch := [])
            self._bytes = 0
        batch.append(entry)
        self.positions.append(position)
        self._bytes += size
