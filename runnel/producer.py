"""Sending: in order per partition, at most once per event, whatever happens to a reply."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from redis.exceptions import ConnectionError, TimeoutError

from runnel import protocol
from runnel.dead_letter import DeadLetter
from runnel.durability import Confirmation, Durability, check_possible
from runnel.entry import EntryCodec
from runnel.errors import ConfigError, Full, RecordTooLarge, UnknownProducer
from runnel.record import adapt
from runnel.scripts import Call, Scripts
from runnel.serializers import MsgpackSerializer
from runnel.settings import Settings
from runnel.stream import Sent, StreamSpec
from runnel.together import Together

R = TypeVar("R")

#: Entries in one append: enough to make the call cheap, few enough not to hold up the server.
BATCH = 500
#: Bytes in one append, for the same reason.
BATCH_BYTES = 1_000_000
#: Seconds between two repeats of an append at the most.
_LONGEST_PAUSE = 1.0


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


#: Makes a call and returns its reply.
Carry = Callable[[Call], Awaitable[Any]]


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
        self._outlets: dict[tuple[str, int], _Outlet] = {}
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
        encode = stream.codec.encode
        most = max(1, min(BATCH, stream.partition_size // 2))
        shares: dict[int, _Share] = {}
        for position, record in enumerate(records):
            entry = encode(record, headers)
            size = sum(map(len, entry))
            if size > max_bytes:
                raise RecordTooLarge(
                    f"stream {stream.name}: record {position} takes {size} bytes, the setting "
                    f"max_record_bytes allows {max_bytes}"
                )
            partition = stream.partition(record)
            if partition in shares:
                shares[partition].add(position, entry, size, most)
            else:
                shares[partition] = _Share(partition, position, entry, size)
        if stream.name not in self._agreed:
            await self._agree(stream)
        policy = "drop_oldest" if drop_oldest else "refuse"
        until = _moment(wait)
        if len(shares) == 1:  # Needs no task of its own.
            (share,) = shares.values()
            ids = await self._append(stream, share, policy, until, self._alone)
            return [Sent(share.partition, id_) for id_ in ids]
        sent: list[Any] = [None] * len(records)
        appends = [
            self._append(stream, share, policy, until, self._together) for share in shares.values()
        ]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        for share, outcome in zip(shares.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            for position, id_ in zip(share.positions, outcome, strict=True):
                sent[position] = Sent(share.partition, id_)
        return sent

    async def _agree(self, stream: StreamSpec[Any]) -> None:
        await check_possible(await self._scripts.deployment.primaries(), self._durability)
        await self._scripts.call(protocol.agree(stream.prefix(0), stream.agreement))
        self._agreed.add(stream.name)

    async def _append(
        self, stream: StreamSpec[Any], share: _Share, policy: str, until: float, carry: Carry
    ) -> list[str]:
        """The ids of all in the share, whose batches are appended one after the other."""
        outlet = self._outlets.get((stream.name, share.partition))
        if outlet is None:
            outlet = _Outlet(stream.prefix(share.partition))
            self._outlets[stream.name, share.partition] = outlet
        await outlet.lock.acquire()
        try:
            ids = await self._append_batch(stream, outlet, share.batches[0], policy, until, carry)
            for batch in share.batches[1:]:
                ids += await self._append_batch(stream, outlet, batch, policy, until, carry)
            return ids
        finally:
            outlet.lock.release()

    async def _append_batch(
        self,
        stream: StreamSpec[Any],
        outlet: _Outlet,
        entries: list[list[bytes]],
        policy: str,
        until: float,
        carry: Carry,
    ) -> list[str]:
        pause = 0.01
        while True:
            # Forgotten while in flight: if this is cut off, nobody knows whether it arrived, and
            # another append under the same number would be taken for its repeat.
            identity, last = outlet.last or (secrets.token_hex(8), 0)
            outlet.last = None
            call = protocol.append(
                outlet.prefix,
                stream.agreement,
                stream.partition_size,
                policy,
                identity,
                last + 1,
                entries,
            )
            try:
                reply = protocol.read_append(await self._call(call, carry))
            except UnknownProducer:
                continue  # Forgotten after a long silence: nothing is in flight, so start anew.
            except Full as error:
                outlet.last = (identity, last)
                if asyncio.get_running_loop().time() >= until:
                    holder = error.details.get("processor") or "no registered processor"
                    raise Full(
                        f"stream {stream.name}: partition full ({stream.partition_size} events) "
                        f"because {holder} has not passed its oldest events; "
                        f"wait=True waits for room",
                        error.details,
                    ) from None
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
                continue
            outlet.last = (identity, last + 1)
            return reply.ids

    async def _call(self, call: Call, carry: Carry) -> Any:
        """The same bytes again until there is an answer: the partition knows a repeat."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._resend, 0.0
        while True:
            try:
                return await carry(call)
            except (ConnectionError, TimeoutError):
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause + 0.05, _LONGEST_PAUSE)


def _moment(wait: bool | float) -> float:
    """Until when to wait for room, by the loop's clock."""
    if wait is True or wait is False:
        return inf if wait else 0.0
    return asyncio.get_running_loop().time() + wait


class _Outlet:
    """One partition as a producer sees it: what its keys start with, and the `last` append: who
    sends, and its number. That is None before the first and while one is in flight."""

    __slots__ = ("last", "lock", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.lock = asyncio.Lock()
        self.last: tuple[str, int] | None = None


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
