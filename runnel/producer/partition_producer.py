"""Appends to one partition for one producer: one append after the other, each at most once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import Any, Protocol

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)

from runnel import keys, protocol
from runnel.connection.redis_client import Arg
from runnel.current_event import CURRENT_EVENT
from runnel.errors import Full, Missing, OutOfOrder, UnknownProducer
from runnel.producer.order import SendOrder
from runnel.protocol.scripts import Call, error_from
from runnel.stream import StreamSpec

#: Makes a call and returns its reply.
MakeCall = Callable[[Call], Awaitable[Any]]
#: Makes a round trip and returns its raw replies.
Roundtrip = Callable[[Sequence[Sequence[Arg]]], Awaitable[list[Any]]]
#: The entries of one append.
Entries = list[list[bytes]]

#: Seconds between two repeats of an append at most.
_MAX_PAUSE = 1.0
#: Seconds between two tries to append to a full partition, at first and at most.
_FIRST_RETRY, _MAX_RETRY = 0.01, 0.5
#: A call got no answer: it may have been carried out.
_UNANSWERED = (ConnectionError, TimeoutError)
#: A server that takes over, or has been replaced, refuses a call: it was not carried out.
_NOT_NOW = (ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
#: Before the first append these mean that the URL is wrong, so that to wait does not help.
_WRONG_URL = (AuthenticationError, AuthorizationError, ReadOnlyError)
#: A partition that remembers this many producers may have forgotten some to limit their number.
_MANY_PRODUCERS = 900


class Declarer(Protocol):
    """What a PartitionProducer needs of its producer."""

    delivery_timeout: float

    async def declare(self, stream: StreamSpec[Any]) -> None:
        """Declare the stream, and wait until no call of a cancelled caller is under way. Raises
        redis-py's errors, or Mismatch."""
        ...

    async def declare_partition(self, stream: StreamSpec[Any], partition: int) -> None:
        """Check that the stream still exists with the same partition count, and that this is one of
        its partitions. Raises redis-py's errors, or Mismatch."""
        ...

    async def count_producers(self, key: str) -> int:
        """How many producers a partition remembers. `key` is that of their hash."""
        ...

    def report_loss(self, stream: str, partition: int) -> None:
        """Log that a partition has lost acknowledged appends."""
        ...


class Append:
    """One append until it is answered, and what is known about its tries.

    `since` is when the caller asked, and `until` is when it stops waiting for room, by the loop's
    clock.
    """

    __slots__ = ("call", "entries", "pause", "policy", "retry", "since", "unanswered", "until")

    def __init__(self, entries: Entries, policy: str, since: float, until: float) -> None:
        self.entries = entries
        self.policy = policy
        self.since = since
        self.until = until
        #: What is sent, the same bytes each time; None until it is known.
        self.call: Call | None = None
        #: Was it sent without an answer that tells its outcome?
        self.unanswered = False
        #: Seconds before the next repeat, and before the next try in a full partition.
        self.pause = 0.0
        self.retry = _FIRST_RETRY


class PartitionProducer:
    """Appends to one partition for one producer, with one append in flight.

    The partition remembers the producer's last sequence number, so the repeat of an append that did
    arrive returns the ids of the first time. An append that got no answer is repeated for
    `delivery_timeout` seconds. `roundtrip`, if there is one, sends an append of one record faster.
    """

    def __init__(
        self,
        stream: StreamSpec[Any],
        partition: int,
        producer: Declarer,
        roundtrip: Roundtrip | None,
    ) -> None:
        self._stream = stream
        self._partition = partition
        self._prefix = stream.prefix(partition)
        self._appends = protocol.Appends(self._prefix, stream.contract, stream.partition_size)
        self._producer = producer
        self._roundtrip = roundtrip
        self._order = SendOrder()
        #: The producer's id in Redis, and the sequence number of its last append.
        self._id, self._sequence = "", 0
        #: The outcome of the append after that is unknown, so that another append with its number
        #: could be taken for its repeat.
        self._unsure = True
        #: The partition was deleted or lost: it is not recreated unless the stream still has it.
        self._missing = False
        #: Since when the server has not answered; inf while it answers.
        self._silent_since = inf

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
                reply = await self._send(Append(entries, policy, since, until), make_call)
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
                append = Append([entry], policy, asyncio.get_running_loop().time(), until)
                append.call = self._next_call(append)
                # `make_call` loads a script that the server lacks: no reason to wait.
                loadable = isinstance(problem, NoScriptError)
                reply = await self._send(append, make_call, None if loadable else problem)
                return protocol.appended_id(reply)
            self._sequence += 1
            self._unsure = False
            return protocol.appended_id(reply)
        finally:
            order.release(entry)

    def _next_call(self, append: Append) -> Call:
        """The call with the next sequence number."""
        return self._appends.call(append.policy, self._id, self._sequence + 1, append.entries)

    def _become_another(self) -> None:
        """Continue with a new id: the outcome of the last append, or of its number, is unknown."""
        self._id, self._sequence, self._unsure = secrets.token_hex(8), 0, False

    async def _send(
        self, append: Append, make_call: MakeCall, problem: Exception | None = None
    ) -> Any:
        """The reply to an append, after as many tries as needed. `problem` is the error of the
        first try, if there was one."""
        while True:
            if problem is not None:
                await self._handle(append, problem)
            try:
                if self._missing:
                    await self._producer.declare_partition(self._stream, self._partition)
                    self._missing = False
                if append.call is None:
                    if self._unsure:
                        await self._producer.declare(self._stream)
                        self._become_another()
                    append.call = self._next_call(append)
                    self._unsure = True
                reply = await make_call(append.call)  # The same bytes again, unless the id changed.
            except Exception as error:
                problem = error
                continue
            self._sequence += 1
            self._unsure, self._silent_since = False, inf
            return reply

    async def _handle(self, append: Append, problem: Exception) -> None:
        """Do what the problem needs before the next try. Raises it if there must be none."""
        no_retry = append.call is None and isinstance(problem, _WRONG_URL)
        if isinstance(problem, (*_UNANSWERED, *_NOT_NOW)) and not no_retry:
            append.unanswered |= append.call is not None and isinstance(problem, _UNANSWERED)
            await self._pause(append, problem)
            return
        self._silent_since = inf
        append.pause = 0.0
        if isinstance(problem, Full):
            await self._wait_for_room(append, problem)
        elif isinstance(problem, Missing):
            self._missing = True
        elif isinstance(problem, (OutOfOrder, UnknownProducer)):
            await self._handle_loss(append, problem)
        else:
            if append.call is None:  # The stream cannot be used: no waiter can use it either.
                self._order.fail_waiters(problem, lambda _: True)
            raise problem

    async def _pause(self, append: Append, problem: Exception) -> None:
        """The server does not answer: wait a moment, or fail all whose delivery timeout is over."""
        now = asyncio.get_running_loop().time()
        since, timeout = min(self._silent_since, now), self._producer.delivery_timeout
        self._silent_since = since
        if now >= max(append.since, since) + timeout:
            self._order.fail_waiters(problem, lambda each: max(each.since, since) + timeout <= now)
            raise problem
        await asyncio.sleep(append.pause)
        append.pause = min(2 * append.pause + 0.05, _MAX_PAUSE)

    async def _wait_for_room(self, append: Append, refusal: Full) -> None:
        """Wait until the next try in a full partition. A send that waits for room holds up only
        sends that wait as well: the others fail, or make room by themselves, first."""
        now, full = asyncio.get_running_loop().time(), self._full(refusal)
        self._order.fail_waiters(full, lambda each: not each.drops_oldest and each.until <= now)
        self._unsure = append.unanswered  # A refused append used no sequence number.
        if now >= append.until:
            raise full from None
        if self._waits_for_itself(refusal):
            raise self._endless(refusal) from None
        if not append.unanswered:
            await self._order.let_droppers_pass()  # They use its sequence number meanwhile.
            append.call = None
        await self._order.sleep(min(append.retry, append.until - now))
        append.retry = min(append.retry * 2, _MAX_RETRY)

    async def _handle_loss(self, append: Append, problem: OutOfOrder | UnknownProducer) -> None:
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

    def _waits_for_itself(self, refusal: Full) -> bool:
        """Is the partition full because of the event whose handler waits here?"""
        mine, details = CURRENT_EVENT.get(), refusal.details
        return (
            mine is not None
            and mine.log == keys.log(self._prefix)
            and mine.processor == details.get("processor")
            and mine.stuck_at(details.get("checkpoint", ""))
        )

    def _full(self, refusal: Full) -> Full:
        return Full(
            f"{self._is_full()} because {refusal.reason}; wait=True waits for room",
            refusal.details,
        )

    def _endless(self, refusal: Full) -> Full:
        return Full(
            f"{self._is_full()}, and to wait for room here would never end: processor "
            f"{refusal.details['processor']} sends to the partition that it reads, and commits no "
            "event while its handler waits. Give the stream a larger partition_size, send to "
            "another stream, or send without wait and let the event fail until there is room",
            refusal.details,
        )

    def _is_full(self) -> str:
        return (
            f"stream {self._stream.name}: partition {self._partition} is full "
            f"({self._stream.partition_size} events)"
        )
