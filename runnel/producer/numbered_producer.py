"""`NumberedProducer`: sends records that have numbers, each at most once, over restarts as well."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Never, Protocol, TypeVar

from runnel import keys
from runnel.delayed import no_time
from runnel.errors import ConfigError, EarlierNotSent
from runnel.observer import sending
from runnel.producer.error_copies import copy_of, with_sent
from runnel.producer.numbered_partition import NumberedPartition, NumberedSend
from runnel.producer.producer import Producer
from runnel.producer.shares import Share, shares_of, wait_until, when_full
from runnel.protocol import NumberedEntry
from runnel.protocol.ids import parts
from runnel.stream import Sent, Stream, StreamOwner, StreamSpec

R = TypeVar("R")

#: What takes the place of a numbered send that is due later.
_NO_NUMBER = (
    "a number says what was sent, and not when it is due. `await stream.send(…, delay=…, "
    "dedupe=…)` takes a natural key, under which a restarted program sends nothing twice"
)
#: Partitions that are asked for their last number in one round trip.
_PAGE = 500
#: The largest number: the first part of an id has 64 bits.
MAX_NUMBER = 2**64 - 1


class Owner(StreamOwner, Protocol):
    """What a numbered producer needs of its app."""

    def producer(self) -> Producer:
        """The app's producer in the running event loop."""
        ...


class _Progress:
    """Which numbers of a stream may be sent next."""

    def __init__(self, where: str, id_: str) -> None:
        self._where = where
        self._id = id_
        #: The smallest number that may be sent.
        self._next = 0
        #: The first numbers of the sends that failed and were not repeated, in order.
        self._failed: list[int] = []

    def begin(self, first: int, last: int) -> None:
        """A send of these numbers begins. Raises ConfigError if they were sent already, or are
        smaller than others that were; EarlierNotSent if an earlier send must be repeated first."""
        if first < self._next:
            raise ConfigError(
                f"{self._where}: number {first} comes after {self._next - 1}. Numbers must rise, "
                "because a smaller one counts as sent. Send all records of a number in one call. "
                f"To begin again earlier, make another producer with app.producer(id={self._id!r})"
            )
        if self._failed and self._failed[0] < first:
            raise EarlierNotSent(
                f"{self._where}: number {first} was not sent, because number {self._failed[0]} is "
                "not there yet, and would count as there after it. Send that one again first; or, "
                f"to leave it out for good, go on with another app.producer(id={self._id!r})"
            )
        self._next = last + 1

    def fail(self, first: int) -> None:
        """A send that begins with this number failed."""
        self._next = min(self._next, first)
        insort(self._failed, first)

    def succeed(self, first: int, last: int) -> None:
        """All records of these numbers are there."""
        if self._failed:
            self._failed = [each for each in self._failed if not first <= each <= last]


class NumberedProducer:
    """Sends records that have numbers, each at most once. Made by `App.producer(id=…)`.

    Each partition remembers the last number that this producer sent to it, also after the process
    has ended. Records with a number that is not larger are there, and are not sent again. So a
    program that reads a file, or the log of another database, may begin again anywhere before the
    place where it ended.
    """

    def __init__(self, app: Owner, id_: str) -> None:
        self.id = keys.check_name("producer", id_)
        self._app = app
        self._sender = f"producer:{id_}"
        self._progress: dict[str, _Progress] = {}

    async def send(
        self,
        stream: Stream[R],
        *records: R,
        number: int | Iterable[int],
        headers: dict[str, str] | None = None,
        wait: bool | float = False,
        drop_oldest: bool = False,
        **options: Never,
    ) -> list[Sent | None]:
        """Send records under a number. Returns the partition and id of each, or None for one that
        was there before.

        All records have the same number, or `number` is a list with one for each. A number stands
        for the same records whenever it is sent. Numbers rise from send to send, and need not be
        consecutive. Sends may run at the same time; to each partition they go in the order in which
        they began. If one fails, those that wait behind it fail as well, so that the program can go
        back to it: after an error, the same number must be sent again before others.

        The other options, and the errors, are those of `Stream.send`. Also raises ConfigError for a
        number that is none or that is too small, and for `at` and `delay`; ProducerInUse if another
        process sends under the same id; EarlierNotSent if a send before this one has failed.
        """
        no_time("send", options, _NO_NUMBER)
        spec = self._spec(stream)
        how = (when_full(spec, drop_oldest), wait_until(wait))
        count = len(records)
        with sending(self._app.observers, spec.app, spec.name, count, headers) as send:
            sent = await self._send(spec, records, number, send.headers, how)
            send.sent = sent
        return sent

    async def _send(
        self,
        spec: StreamSpec[Any],
        records: Sequence[Any],
        number: int | Iterable[int],
        headers: dict[str, str] | None,
        how: tuple[str, float],
    ) -> list[Sent | None]:
        shares = shares_of(spec, records, headers, self._app.settings.max_record_bytes)
        numbers = _numbers(number, len(records))
        if not records:
            return []
        first, last = numbers[0][0], numbers[-1][0]
        progress = self._progress.get(spec.name)
        if progress is None:
            where = f"producer {self.id}, stream {spec.name}"
            progress = self._progress[spec.name] = _Progress(where, self.id)
        progress.begin(first, last)
        sent: list[Sent | None] = [None] * len(records)
        try:
            await self._send_shares(spec, shares, numbers, sent, how)
        except BaseException as error:
            progress.fail(first)
            with_sent(error, sent)
            raise
        progress.succeed(first, last)
        return sent

    async def last(self, stream: Stream[Any]) -> int | None:
        """The largest number that a partition of the stream remembers of this producer; None if no
        partition remembers any.

        If each send waited for the one before it, all records with smaller numbers are there, and
        of this number at least one record. So go on with this number, not with the next one. If a
        send had several numbers, or sends ran at the same time, records of any of them may be
        missing: go back as far as these may reach. A failover may have lost the last records of
        one partition, and not those of the others: go further back after one.
        """
        spec, producer = self._spec(stream), self._app.producer()
        names = [keys.numbers(spec.prefix(each)) for each in range(spec.partition_count)]
        found: list[int] = []
        for at in range(0, len(names), _PAGE):
            commands = [(each, ("HGET", each, self._sender)) for each in names[at : at + _PAGE]]
            replies = filter(None, await producer.deployment.ask(commands))
            found += [parts(each.decode().partition(" ")[0])[0] for each in replies]
        return max(found, default=None)

    def _spec(self, stream: Stream[Any]) -> StreamSpec[Any]:
        """The declaration of a stream to which this producer may send. Raises ConfigError."""
        if not isinstance(stream, Stream):
            raise ConfigError(
                "the first argument is the stream, as in producer.send(orders, order, number=17), "
                f"not {type(stream).__name__}"
            )
        if stream.app is not self._app:
            raise ConfigError(
                f"producer {self.id}: the stream {stream.name} belongs to another app; make the "
                "producer with that app's producer(id=…)"
            )
        stream.check_writable()
        return stream.spec

    async def _send_shares(
        self,
        spec: StreamSpec[Any],
        shares: list[Share],
        numbers: list[tuple[int, int]],
        sent: list[Sent | None],
        options: tuple[str, float],
    ) -> None:
        """Send each share to its partition. Partitions and ids go into `sent`, even on errors."""
        producer = self._app.producer()
        call = producer.call if len(shares) == 1 else producer.call_with_others
        sends: list[tuple[Share, NumberedPartition, NumberedSend]] = []
        for share in shares:
            send = NumberedSend(_numbered(share, numbers), *options)
            partition = producer.numbered_partition(spec, share.partition, self._sender)
            # Before anything is awaited, so that the sends of all tasks have their order.
            partition.enter(send)
            sends.append((share, partition, send))
        outcomes: list[BaseException | None] = []
        try:
            appends = (partition.append(send, call) for _, partition, send in sends)
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
        except BaseException as error:
            outcomes = [error] * len(sends)
            raise
        finally:
            # In the same step `send` takes note of the error: nothing can be sent in between.
            for (share, partition, send), outcome in zip(sends, outcomes, strict=True):
                partition.leave(send, outcome)
                for position, id_ in zip(share.positions, send.ids, strict=False):
                    sent[position] = None if id_ is None else Sent(share.partition, id_)
        for outcome in outcomes:
            if outcome is not None:
                raise copy_of(outcome) if isinstance(outcome, Exception) else outcome


def _numbers(number: int | Iterable[int], records: int) -> list[tuple[int, int]]:
    """The number of each record: the one that was given, and its place among those of one number.
    Raises ConfigError."""
    if isinstance(number, (int, str, bytes)) or not isinstance(number, Iterable):
        first = _checked(number)
        return [(first, place) for place in range(records)]
    found = [_checked(each) for each in number]
    if len(found) != records:
        raise ConfigError(
            f"send(number=…) has {len(found)} numbers for {records} records: give one for each, or "
            "a single one for all"
        )
    for before, after in pairwise(found):
        if after <= before:
            raise ConfigError(
                f"send(number=…): {after} comes after {before}. Numbers must rise; all records of "
                "one number go in a call of their own"
            )
    return [(each, 0) for each in found]


def _checked(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_NUMBER:
        raise ConfigError(
            f"send(number=…) takes a whole number from 0 to {MAX_NUMBER}, or a list of them, not "
            f"{number!r}"
        )
    return int(number)


def _numbered(share: Share, numbers: list[tuple[int, int]]) -> list[list[NumberedEntry]]:
    """The batches of a share, each entry with its number."""
    texts = iter(["{}-{}".format(*numbers[each]) for each in share.positions])
    return [[(next(texts), entry) for entry in batch] for batch in share.batches]
