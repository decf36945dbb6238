"""Appends to one partition, one after the other: repeats those without an answer, waits for room.

What is appended, and how a repeat is recognised, is left to the classes that are made of this one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)

from runnel import keys
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.errors import Full, Missing, Overdue
from runnel.producer.order import SendOrder
from runnel.protocol.scripts import Call
from runnel.stream import StreamSpec

#: Makes a call and returns its reply.
MakeCall = Callable[[Call], Awaitable[Any]]
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


class Declarer(Protocol):
    """What a PartitionAppender needs of its producer."""

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

    async def promote(self, stream: StreamSpec[Any], partition: int, policy: str) -> None:
        """Move delayed events that are due into the log. Raises Full, redis-py's errors, or
        Mismatch."""
        ...


class Append:
    """One append until it is answered, and what is known about its tries.

    `since` is when the caller asked, and `until` is when it stops waiting for room, by the loop's
    clock.
    """

    __slots__ = ("call", "pause", "policy", "retry", "since", "unanswered", "until")

    def __init__(self, policy: str, since: float, until: float) -> None:
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


A = TypeVar("A", bound=Append)


class PartitionAppender(ABC, Generic[A]):
    """Appends to one partition, with one append in flight.

    An append that got no answer is repeated for `delivery_timeout` seconds.
    """

    def __init__(self, stream: StreamSpec[Any], partition: int, producer: Declarer) -> None:
        self._stream = stream
        self._partition = partition
        self._prefix = stream.prefix(partition)
        self._producer = producer
        self._order = SendOrder()
        #: Nothing is known of the partition yet, or the outcome of the last append is unknown: it
        #: may still be under way.
        self._unsure = True
        #: The partition was deleted or lost: it is not recreated unless the stream still has it.
        self._missing = False
        #: Delayed events are due, and enter the log first.
        self._overdue = False
        #: Since when the server has not answered; inf while it answers.
        self._silent_since = inf

    @abstractmethod
    def _call_of(self, append: A) -> Call:
        """The call of an append."""

    def _begin_anew(self) -> None:
        """The outcome of the last append is unknown, and nobody repeats it any more."""

    def _answered(self, append: A) -> None:
        """An append was applied, now or by an earlier try."""

    async def _recovers(self, append: A, problem: Exception) -> bool:
        """Do what a refusal needs before the next try. Returns False if there must be none."""
        return False

    async def _let_others_pass(self) -> None:
        """An append waits for room, and no try of it is under way: others may go first."""

    async def _send(self, append: A, make_call: MakeCall, problem: Exception | None = None) -> Any:
        """The reply to an append, after as many tries as needed. `problem` is the error of the
        first try, if there was one."""
        while True:
            if problem is not None:
                await self._handle(append, problem)
            try:
                if self._missing:
                    await self._producer.declare_partition(self._stream, self._partition)
                    self._missing = False
                if self._overdue:
                    await self._producer.promote(self._stream, self._partition, append.policy)
                    self._overdue = False
                if append.call is None:
                    if self._unsure:
                        await self._producer.declare(self._stream)
                        self._begin_anew()
                    append.call = self._call_of(append)
                    self._unsure = True
                reply = await make_call(append.call)  # The same bytes in each try.
            except Exception as error:
                problem = error
                continue
            self._answered(append)
            self._unsure, self._silent_since = False, inf
            return reply

    async def _handle(self, append: A, problem: Exception) -> None:
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
        elif isinstance(problem, Overdue):
            self._overdue = True
        elif not await self._recovers(append, problem):
            if append.call is None:  # The stream cannot be used: no waiter can use it either.
                self._order.fail_waiters(problem, lambda _: True)
            raise problem

    async def _pause(self, append: A, problem: Exception) -> None:
        """The server does not answer: wait a moment, or fail all whose delivery timeout is over."""
        now = asyncio.get_running_loop().time()
        since, timeout = min(self._silent_since, now), self._producer.delivery_timeout
        self._silent_since = since
        if now >= max(append.since, since) + timeout:
            self._order.fail_waiters(problem, lambda each: max(each.since, since) + timeout <= now)
            raise problem
        await asyncio.sleep(append.pause)
        append.pause = min(2 * append.pause + 0.05, _MAX_PAUSE)

    async def _wait_for_room(self, append: A, refusal: Full) -> None:
        """Wait until the next try in a full partition. A send that waits for room holds up only
        sends that wait as well: the others fail, or make room by themselves, first."""
        now, full = asyncio.get_running_loop().time(), self._full(refusal)
        self._order.fail_waiters(full, lambda each: not each.drops_oldest and each.until <= now)
        self._unsure = append.unanswered  # A refused append used no sequence number.
        self._fail_endless_waits(refusal)
        if now >= append.until:
            raise full from None
        if self._is_endless(CURRENT_EVENT.get(), refusal):
            raise self._endless(refusal) from None
        if not append.unanswered:
            await self._let_others_pass()
            append.call = None
        await self._order.sleep(min(append.retry, append.until - now))
        append.retry = min(append.retry * 2, _MAX_RETRY)

    def _is_endless(self, event: CurrentEvent | None, refusal: Full) -> bool:
        """Is the partition full because of this event, whose handler would wait for room?"""
        details = refusal.details
        return (
            event is not None
            and event.log == keys.log(self._prefix)
            and event.processor == details.get("processor")
            and event.stuck_at(details.get("checkpoint", ""))
        )

    def _fail_endless_waits(self, refusal: Full) -> None:
        """Fail the waiters that hold the partition back themselves. They never get the turn while
        another send, perhaps of another thread, waits for the room that only they can make."""
        if "processor" in refusal.details:
            self._order.fail_waiters(
                self._endless(refusal),
                lambda each: not each.drops_oldest and self._is_endless(each.event, refusal),
            )

    def _full(self, refusal: Full) -> Full:
        hint = "wait=True waits for room"
        if delayed := refusal.details.get("delayed"):
            text = f"{self._is_full()} because {delayed} delayed events wait in it; {hint}"
            return Full(text, refusal.details)
        if not refusal.details.get("processor") and self._stream.retention.retain == "always":
            hint = (
                'App.stream(…, retain="until_full") lets the oldest events make room while nobody '
                f"reads the stream; {hint}"
            )
        return Full(f"{self._is_full()} because {refusal.reason}; {hint}", refusal.details)

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
