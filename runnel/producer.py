"""Sending: in order per partition, at most once per event, whatever happens to a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from runnel import protocol
from runnel.dead_letter import DeadLetter
from runnel.durability import Confirmation, Durability, check_possible
from runnel.entry import EntryCodec
from runnel.errors import ConfigError, RecordTooLarge
from runnel.outlet import Outlet
from runnel.record import adapt
from runnel.scripts import Scripts
from runnel.serializers import MsgpackSerializer
from runnel.settings import Settings
from runnel.stream import Sent, StreamSpec
from runnel.together import Together

R = TypeVar("R")

#: Entries in one append: enough to make the call cheap, few enough not to hold up the server.
BATCH = 500
#: Bytes in one append, for the same reason.
BATCH_BYTES = 1_000_000


class Home(Protocol):
    """What a stream needs of the app that declared it."""

    settings: Settings
    streams: dict[str, Stream[Any]]

    def producer(self) -> Producer:
        """What sends for the app in the running event loop."""
        ...

    def add(self, stream: Stream[Any]) -> Stream[Any]:
        """Enter a stream."""
        ...

    def configure(self, **settings: Any) -> None:
        """Override settings."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Stream(Generic[R]):
    """A stream of one app, to send to. Made by `App.stream`."""

    def __init__(self, app: Home, spec: StreamSpec[R]) -> None:
        self.app = app
        self.spec = spec
        self.name = spec.name

    async def send(
        self,
        *records: R,
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
    ) -> list[Sent]:
        """Send records, in order per key; returns the partition and id of each.

        A repeat after a lost reply sends nothing twice. If a partition is full the call fails with
        `Full`, which names the processor that holds it back; `wait` waits for room instead, for
        ever or for so many seconds, and `drop_oldest` drops events that no processor has passed.
        Raises EncodeError, RecordTooLarge, PartitionKeyError (nothing was sent), Full, Mismatch,
        and ConfigError for a derived stream, which only processors of its source write to.
        """
        if self.spec.source != self.spec.name:
            raise ConfigError(
                f"stream {self.name} is derived from {self.spec.source}: only processors of that "
                "stream write to it"
            )
        return await self.app.producer().send(
            self.spec,
            records,
            headers=headers,
            max_bytes=self.app.settings.max_record_bytes,
            wait=wait,
            drop_oldest=drop_oldest,
        )

    def dead_letters(self, processor: str) -> Stream[DeadLetter]:
        """The stream that holds what a processor of this stream has set aside, if it has a
        `DeadLetterMiddleware` without a sink of its own. Another processor may read it."""
        name = f"{self.name}.{processor}.dead"
        return self.app.streams.get(name) or self.derive(name, DeadLetter)

    def original(self, letter: DeadLetter) -> R:
        """The record in a dead letter of this stream. Raises DecodeError if it cannot be read."""
        return self.spec.codec.decode(letter.fields)

    def derive(self, name: str, record: type[Any]) -> Stream[Any]:
        """A stream with the partitions of this one, which a processor of it can write to in the
        same commit. Raises ConfigError if its name is taken."""
        codec = EntryCodec(adapt(record), MsgpackSerializer())
        spec: StreamSpec[Any] = StreamSpec(
            self.spec.app,
            name,
            codec,
            lambda _: None,
            self.spec.partition_count,
            self.spec.partition_size,
            self.spec.hasher,
            source=self.spec.source,
        )
        return self.app.add(Stream(self.app, spec))


class Producer:
    """One sender with one append in flight per partition; a lost reply is asked for again.

    The partition remembers the producer's last sequence number, so an append that did arrive is
    answered with the ids of the first time. `resend` is for how many seconds it is repeated, or
    waited for until it is as durable as `durability` says.
    """

    def __init__(self, scripts: Scripts, resend: float, durability: Durability = "primary") -> None:
        self._scripts = scripts
        self._resend = resend
        self._durability = durability
        confirmation = Confirmation.of(durability)
        self._together = Together(scripts, confirmation).call
        self._alone = partial(scripts.call, confirmation=confirmation)
        #: The short way for an append that is sent alone, if there is one.
        self._short = scripts.roundtrip if confirmation is None else None
        self._outlets: dict[tuple[str, int], Outlet] = {}
        self._agreed: set[str] = set()

    async def close(self) -> None:
        """Close the connections."""
        await self._scripts.client.aclose()

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
        many seconds. Raises EncodeError, PartitionKeyError, Full, or redis-py's errors.
        """
        policy = "drop_oldest" if drop_oldest else "refuse"
        if len(records) == 1:  # As most are: one call, which needs no task of its own.
            (record,) = records
            entry = stream.codec.encode(record, headers)
            if (size := sum(map(len, entry))) > max_bytes:
                raise _too_large(stream, 0, size, max_bytes)
            partition = stream.partition(record)
            if stream.name not in self._agreed:
                await self._agree(stream)
            outlet = self._outlets.get((stream.name, partition)) or self._outlet(stream, partition)
            until = _moment(wait) if wait else 0.0
            id_ = await outlet.append_one(entry, policy, until, self._alone)
            return [Sent(partition, id_)]
        shares = _shared_out(stream, records, headers, max_bytes)
        if stream.name not in self._agreed:
            await self._agree(stream)
        until = _moment(wait)
        sent: list[Any] = [None] * len(records)
        appends = [
            self._outlet(stream, each.partition).append(each.batches, policy, until, self._together)
            for each in shares
        ]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        for share, outcome in zip(shares, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            for position, id_ in zip(share.positions, outcome, strict=True):
                sent[position] = Sent(share.partition, id_)
        return sent

    async def _agree(self, stream: StreamSpec[Any]) -> None:
        await check_possible(await self._scripts.deployment.primaries(), self._durability)
        await self._scripts.call(protocol.agree(stream.prefix(0), stream.agreement))
        self._agreed.add(stream.name)

    def _outlet(self, stream: StreamSpec[Any], partition: int) -> Outlet:
        found = self._outlets.get((stream.name, partition))
        if found is None:
            found = self._outlets[stream.name, partition] = Outlet(
                stream, partition, self._resend, self._short
            )
        return found


def _moment(wait: bool | float) -> float:
    """Until when to wait for room, by the loop's clock."""
    if wait is True or wait is False:
        return inf if wait else 0.0
    return asyncio.get_running_loop().time() + wait


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
    in batches, none too large for the server or for the partition.

    It begins with one record; `size` is what its entry takes, in bytes.
    """

    __slots__ = ("_bytes", "batches", "partition", "positions")

    def __init__(self, partition: int, position: int, entry: list[bytes], size: int) -> None:
        self.partition = partition
        self.positions = [position]
        self.batches = [[entry]]
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
