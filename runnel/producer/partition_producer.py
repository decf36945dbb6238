"""Appends to one partition for one producer: one append after the other, each at most once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from runnel import keys, protocol
from runnel.connection.redis_client import Arg
from runnel.delayed import Due
from runnel.errors import OutOfOrder, UnknownProducer
from runnel.producer.partition_appender import (
    Append,
    Declarer,
    Entries,
    MakeCall,
    PartitionAppender,
)
from runnel.protocol import AppendedLater
from runnel.protocol.scripts import Call, error_from
from runnel.stream import StreamSpec

#: Makes a round trip and returns its raw replies.
Roundtrip = Callable[[Sequence[Sequence[Arg]]], Awaitable[list[Any]]]
#: A partition that remembers this many producers may have forgotten some to limit their number.
_MANY_PRODUCERS = 900


class Once(NamedTuple):
    """An event is sent only if none was sent under this `key` less than `window` ms ago."""

    key: str
    window: int


class Later(NamedTuple):
    """Events enter the log when they are due. The partition remembers the request `key` for
    `window` ms."""

    due: Due
    key: str
    window: int


class SequencedAppend(Append):
    """An append with the next sequence number; without one, if it has a key of its own."""

    __slots__ = ("entries", "once")

    def __init__(
        self,
        entries: Entries,
        policy: str,
        since: float,
        until: float,
        once: Once | Later | None = None,
    ) -> None:
        super().__init__(policy, since, until)
        self.entries = entries
        self.once = once


class PartitionProducer(PartitionAppender[SequencedAppend]):
    """Appends to one partition for one producer, with one append in flight.

    The partition remembers the producer's last sequence number, so the repeat of an append that did
    arrive returns the ids of the first time. `roundtrip`, if there is one, sends an append of one
    record faster.
    """

    def __init__(
        self,
        stream: StreamSpec[Any],
        partition: int,
        producer: Declarer,
        roundtrip: Roundtrip | None,
    ) -> None:
        super().__init__(stream, partition, producer)
        self._appends = protocol.Appends(self._prefix, stream.contract, stream.limits)
        self._roundtrip = roundtrip
        #: The producer's id in Redis, and the sequence number of its last append. While `_unsure`,
        #: another append with the next number could be taken for the repeat of an earlier one.
        self._id, self._sequence = "", 0

    async def append(
        self,
        batches: Iterable[Entries],
        ids: list[str],
        policy: str,
        until: float,
        make_call: MakeCall,
    ) -> None:
        """Append the batches one after the other, and add the ids of their entries to `ids`.

        `policy` is that of the script. Waits for room until this moment of the loop's clock.
        Raises Full, or redis-py's errors.
        """
        since = asyncio.get_running_loop().time()
        await self._order.acquire(batches, since, until, policy == "drop_oldest")
        try:
            for entries in batches:
                append = SequencedAppend(entries, policy, since, until)
                reply = await self._send(append, make_call)
                ids += protocol.appended_ids(reply)
        finally:
            self._order.release(batches)

    async def append_one(
        self, entry: list[bytes], policy: str, until: float, make_call: MakeCall
    ) -> str:
        """Append one entry and return its id. Does the same as `append`, without the steps that
        most appends do not need."""
        roundtrip, order = self._roundtrip, self._order
        if roundtrip is None or self._unsure or order.holder is not None:
            ids: list[str] = []
            await self.append([[entry]], ids, policy, until, make_call)
            return ids[0]
        order.holder, self._unsure = entry, True
        command = self._appends.command(policy, self._id, self._sequence + 1, entry)
        try:
            try:
                (reply,) = await roundtrip((command,))
                if isinstance(reply, Exception):
                    raise error_from(reply)
            except Exception as problem:
                now = asyncio.get_running_loop().time()
                append = SequencedAppend([entry], policy, now, until)
                append.call = self._call_of(append)
                # `make_call` loads a script that the server lacks: no reason to wait.
                loadable = isinstance(problem, NoScriptError)
                reply = await self._send(append, make_call, None if loadable else problem)
                return protocol.appended_id(reply)
            self._sequence += 1
            self._unsure = False
            return protocol.appended_id(reply)
        finally:
            order.release(entry)

    async def append_once(
        self, once: Once, entry: list[bytes], policy: str, until: float, make_call: MakeCall
    ) -> str:
        """Append one entry unless one was appended under the key. Returns the id of that one."""
        since = asyncio.get_running_loop().time()
        append = SequencedAppend([entry], policy, since, until, once)
        await self._order.acquire(append, since, until, policy == "drop_oldest")
        try:
            return protocol.appended_id(await self._send(append, make_call))
        finally:
            self._order.release(append)

    async def append_later(
        self, later: Later, entries: Entries, until: float, make_call: MakeCall
    ) -> AppendedLater:
        """Keep entries until they are due, once per request."""
        since = asyncio.get_running_loop().time()
        append = SequencedAppend(entries, "refuse", since, until, later)
        await self._order.acquire(append, since, until, False)
        try:
            return protocol.read_append_later(await self._send(append, make_call))
        finally:
            self._order.release(append)

    def _call_of(self, append: SequencedAppend) -> Call:
        """The call with the next sequence number, or with the key."""
        spec = self._stream
        if append.once is None:
            return self._appends.call(append.policy, self._id, self._sequence + 1, append.entries)
        if isinstance(append.once, Later):
            return protocol.append_later(
                self._prefix, spec.contract, spec.partition_size, *append.once, append.entries
            )
        (key, window), (entry,) = append.once, append.entries
        return protocol.append_once(
            self._prefix, spec.contract, spec.limits, append.policy, key, window, entry
        )

    def _begin_anew(self) -> None:
        """Continue with a new id: the outcome of the last append, or of its number, is unknown."""
        self._id, self._sequence = secrets.token_hex(8), 0

    def _answered(self, append: SequencedAppend) -> None:
        self._sequence += append.once is None

    async def _let_others_pass(self) -> None:
        """Appends that make room by themselves go first. They use the sequence number meanwhile."""
        await self._order.let_droppers_pass()

    async def _recovers(self, append: SequencedAppend, problem: Exception) -> bool:
        if not isinstance(problem, (OutOfOrder, UnknownProducer)):
            return False
        await self._handle_loss(append, problem)
        return True

    async def _handle_loss(
        self, append: SequencedAppend, problem: OutOfOrder | UnknownProducer
    ) -> None:
        """The partition does not know the last append that it acknowledged: continue with a new id.

        Nothing is sent twice by that. In the server's history, after a failover for instance, the
        append before this one never happened. A server that loses an append loses all later ones
        with it, so this append is not there either, even if the lost server had it. And a try of it
        that still arrives is refused: its number does not follow the stored one.

        But a partition also forgets producers to limit their number, and that says nothing about an
        append that was tried without an answer. Then nothing is sent: its outcome is unknown.
        """
        if isinstance(problem, OutOfOrder):
            if int(problem.details.get("last", self._sequence)) >= self._sequence:
                raise problem
            self._producer.report_loss(self._stream.name, self._partition)
        elif append.unanswered:
            key = keys.producers(self._prefix)
            if await self._producer.count_producers(key) >= _MANY_PRODUCERS:
                raise UnknownProducer(
                    f"stream {self._stream.name}, partition {self._partition}: Redis did not "
                    "answer, and has forgotten this producer since, so nobody knows whether the "
                    "append arrived",
                    problem.details,
                ) from None
            self._producer.report_loss(self._stream.name, self._partition)
        self._missing = self._unsure = True
        append.call, append.unanswered = None, False
