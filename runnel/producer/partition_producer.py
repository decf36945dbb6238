"""One partition as a producer sees it: appends one after the other, each at most once."""

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
from runnel.delivery.current_event import IN_HAND
from runnel.errors import Full, Missing, OutOfOrder, UnknownProducer
from runnel.producer.order import SendOrder
from runnel.protocol.scripts import Call, error_from
from runnel.stream import StreamSpec

#: Makes a call and returns its reply.
Carry = Callable[[Call], Awaitable[Any]]
#: Makes a round trip and returns its raw replies.
Short = Callable[[Sequence[Sequence[Arg]]], Awaitable[list[Any]]]
#: The entries of one append.
Entries = list[list[bytes]]

#: Seconds between two repeats of an append at the most.
_LONGEST_PAUSE = 1.0
#: Seconds between two looks for room in a full partition, at first and at the most.
_FIRST_LOOK, _LONGEST_LOOK = 0.01, 0.5
#: A call got no answer: it may have been carried out.
_UNANSWERED = (ConnectionError, TimeoutError)
#: A server that takes over, or has been replaced, refuses a call: it was not carried out.
_NOT_NOW = (ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
#: At first use these are a mistake in the URL, which waiting does not mend.
_MISTAKES = (AuthenticationError, AuthorizationError, ReadOnlyError)
#: A partition that remembers so many producers may have forgotten some to keep that number.
_CROWD = 900


class Sender(Protocol):
    """What an outlet needs of the producer that it belongs to."""

    resend: float

    async def open(self, stream: StreamSpec[Any]) -> None:
        """Have all clients agree on the stream, and be sure that nothing which was cancelled is
        still under way. Raises redis-py's errors, or Mismatch."""
        ...

    async def open_again(self, stream: StreamSpec[Any], partition: int) -> None:
        """Be sure that the stream is there, with as many partitions, and this is one of them.
        Raises redis-py's errors, or Mismatch."""
        ...

    async def remembered(self, producers: str) -> int:
        """How many producers a partition remembers."""
        ...

    def went_back(self, stream: str, partition: int) -> None:
        """A partition has lost what it had acknowledged."""
        ...


class Append:
    """One append on its way, with what was found out about it so far.

    `what` is sent by a caller who asked at `since` and waits for room until `until`, by the loop's
    clock.
    """

    __slots__ = ("call", "entries", "look", "pause", "policy", "since", "unanswered", "until")

    def __init__(self, entries: Entries, policy: str, since: float, until: float) -> None:
        self.entries = entries
        self.policy = policy
        self.since = since
        self.until = until
        #: What goes out, the same bytes each time; None until it is known.
        self.call: Call | None = None
        #: Was it sent without an answer that tells what became of it?
        self.unanswered = False
        self.pause = 0.0
        self.look = _FIRST_LOOK


class PartitionProducer:
    """Where one producer sends what belongs to one partition, with one append in flight.

    The partition remembers the producer's last sequence number, so an append that did arrive is
    answered with the ids of the first time. One that got no answer is repeated for as long as the
    producer's `resend` says. `short` is the way for one record alone, if there is one.
    """

    def __init__(
        self, stream: StreamSpec[Any], partition: int, producer: Sender, short: Short | None
    ) -> None:
        self._stream = stream
        self._partition = partition
        self._prefix = stream.prefix(partition)
        self._appends = protocol.Appends(self._prefix, stream.contract, stream.partition_size)
        self._producer = producer
        self._short = short
        self._gate = SendOrder()
        #: Who sends, and the number of their last append.
        self._sender, self._number = "", 0
        #: Nobody knows whether the append after that arrived, so another one under its number
        #: might be taken for its repeat.
        self._unsure = True
        #: The partition was deleted or lost: it is not made anew if the stream has not got it.
        self._gone = False
        #: Since when the server has not answered, if it does not.
        self._silent_since = inf

    async def append(
        self, batches: Iterable[Entries], ids: list[str], policy: str, until: float, carry: Carry
    ) -> None:
        """Append the batches one after the other, and add the ids of their entries to `ids`.

        `policy` is that of the script. Waits for room until this moment of the loop's clock.
        Raises Full, or redis-py's errors.
        """
        since = asyncio.get_running_loop().time()
        await self._gate.enter(batches, since, until, policy == "drop_oldest")
        try:
            for entries in batches:
                reply = await self._carried(Append(entries, policy, since, until), carry)
                ids += protocol.appended_ids(reply)
        finally:
            self._gate.leave(batches)

    async def append_one(self, entry: list[bytes], policy: str, until: float, carry: Carry) -> str:
        """The id of one entry. The same, without the steps that most do not need."""
        short, gate = self._short, self._gate
        if short is None or self._unsure or gate.inside is not None:
            ids: list[str] = []
            await self.append([[entry]], ids, policy, until, carry)
            return ids[0]
        gate.inside, self._unsure = entry, True
        command = self._appends.command(policy, self._sender, self._number + 1, entry)
        try:
            try:
                (reply,) = await short((command,))
                if isinstance(reply, Exception):
                    raise error_from(reply)
            except Exception as problem:
                append = Append([entry], policy, asyncio.get_running_loop().time(), until)
                append.call = self._next(append)
                # A script that is not there is taught by the long way, on which it goes now.
                taught = isinstance(problem, NoScriptError)
                reply = await self._carried(append, carry, None if taught else problem)
                return protocol.text(reply[1])
            self._number += 1
            self._unsure = False
            return protocol.text(reply[1])
        finally:
            gate.leave(entry)

    def _next(self, append: Append) -> Call:
        """The call under the number that is next."""
        return self._appends.call(append.policy, self._sender, self._number + 1, append.entries)

    def _begin_anew(self) -> None:
        """Send as somebody else: nobody knows what became of the last append, or of its number."""
        self._sender, self._number, self._unsure = secrets.token_hex(8), 0, False

    async def _carried(self, append: Append, carry: Carry, problem: Exception | None = None) -> Any:
        """The reply to an append, after as many tries as it takes. `problem` is what the first one
        met, if it was made."""
        while True:
            if problem is not None:
                await self._overcome(append, problem)
            try:
                if self._gone:
                    await self._producer.open_again(self._stream, self._partition)
                    self._gone = False
                if append.call is None:
                    if self._unsure:
                        await self._producer.open(self._stream)
                        self._begin_anew()
                    append.call = self._next(append)
                    self._unsure = True
                reply = await carry(append.call)  # The same bytes again, unless the sender changed.
            except Exception as error:
                problem = error
                continue
            self._number += 1
            self._unsure, self._silent_since = False, inf
            return reply

    async def _overcome(self, append: Append, problem: Exception) -> None:
        """Do about a problem what is to be done before the next try. Raises it if there is to be
        none."""
        mistaken = append.call is None and isinstance(problem, _MISTAKES)
        if isinstance(problem, (*_UNANSWERED, *_NOT_NOW)) and not mistaken:
            append.unanswered |= append.call is not None and isinstance(problem, _UNANSWERED)
            await self._pause(append, problem)
            return
        self._silent_since = inf
        append.pause = 0.0
        if isinstance(problem, Full):
            await self._wait_for_room(append, problem)
        elif isinstance(problem, Missing):
            self._gone = True
        elif isinstance(problem, (OutOfOrder, UnknownProducer)):
            await self._after_a_loss(append, problem)
        else:
            if append.call is None:  # The stream cannot be used: so it is for all who wait.
                self._gate.turn_away(problem, lambda _: True)
            raise problem

    async def _pause(self, append: Append, problem: Exception) -> None:
        """The server does not answer: wait a moment, or give up, with all whose time is over."""
        now = asyncio.get_running_loop().time()
        since, resend = min(self._silent_since, now), self._producer.resend
        self._silent_since = since
        if now >= max(append.since, since) + resend:
            self._gate.turn_away(problem, lambda each: max(each.since, since) + resend <= now)
            raise problem
        await asyncio.sleep(append.pause)
        append.pause = min(2 * append.pause + 0.05, _LONGEST_PAUSE)

    async def _wait_for_room(self, append: Append, refusal: Full) -> None:
        """Wait until it is time to look for room again. Who waits holds up only those who wait as
        well: the others are told, or make room themselves, first."""
        now, told = asyncio.get_running_loop().time(), self._full(refusal)
        self._gate.turn_away(told, lambda each: not each.drops and each.until <= now)
        self._unsure = append.unanswered  # What was refused took no number.
        if now >= append.until:
            raise told from None
        if self._waits_for_itself(refusal):
            raise self._never(refusal) from None
        if not append.unanswered:
            await self._gate.step_aside()  # Its number is used meanwhile.
            append.call = None
        await self._gate.rest(min(append.look, append.until - now))
        append.look = min(append.look * 2, _LONGEST_LOOK)

    async def _after_a_loss(self, append: Append, problem: OutOfOrder | UnknownProducer) -> None:
        """The partition does not know the last append that it acknowledged: send as somebody else.

        Nothing is sent twice by that. The server's history is one in which the append before this
        one never was, be it after a failover that lost it. What comes later in a history is lost
        with it, so this append is not there either, even if the lost server had it. And a try of it
        that still arrives is refused: its number does not follow the one stored.

        But a partition also forgets producers to keep their number down, and that says nothing
        about an append that was tried without an answer. Then nothing is sent, and nobody knows.
        """
        if isinstance(problem, OutOfOrder):
            if int(problem.details.get("last", self._number)) >= self._number:
                raise problem
            self._producer.went_back(self._stream.name, self._partition)
        elif append.unanswered:
            if await self._producer.remembered(keys.producers(self._prefix)) >= _CROWD:
                raise UnknownProducer(
                    f"stream {self._stream.name}, partition {self._partition}: Redis did not "
                    "answer, and has forgotten this producer since, so nobody knows whether the "
                    "append arrived",
                    problem.details,
                ) from None
            self._producer.went_back(self._stream.name, self._partition)
        self._gone = self._unsure = True
        append.call, append.unanswered = None, False

    def _waits_for_itself(self, refusal: Full) -> bool:
        """Does the event hold the partition back whose handler waits here?"""
        mine, details = IN_HAND.get(), refusal.details
        return (
            mine is not None
            and mine.log == keys.log(self._prefix)
            and mine.processor == details.get("processor")
            and mine.stuck_at(details.get("checkpoint", ""))
        )

    def _full(self, refusal: Full) -> Full:
        return Full(
            f"{self._told()} because {refusal.reason}; wait=True waits for room",
            refusal.details,
        )

    def _never(self, refusal: Full) -> Full:
        return Full(
            f"{self._told()}, and to wait for room here would never end: processor "
            f"{refusal.details['processor']} sends to the partition that it reads, and passes no "
            "event while its handler waits. Give the stream a larger partition_size, send to "
            "another stream, or send without wait and let the event fail until there is room",
            refusal.details,
        )

    def _told(self) -> str:
        return (
            f"stream {self._stream.name}: partition {self._partition} is full "
            f"({self._stream.partition_size} events)"
        )
