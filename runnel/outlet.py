"""One partition as a producer sees it: appends one after the other, each at most once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from redis.exceptions import ConnectionError, NoScriptError, TimeoutError

from runnel import protocol
from runnel.errors import Full, UnknownProducer
from runnel.gate import Gate
from runnel.scripts import Call, error_from
from runnel.stream import StreamSpec
from runnel.wire import Arg

#: Makes a call and returns its reply.
Carry = Callable[[Call], Awaitable[Any]]
#: Makes a round trip and returns its raw replies.
Short = Callable[[Sequence[Sequence[Arg]]], Awaitable[list[Any]]]

#: Seconds between two repeats of an append at the most.
_LONGEST_PAUSE = 1.0
#: Seconds between two looks for room in a full partition, at first and at the most.
_FIRST_LOOK, _LONGEST_LOOK = 0.01, 0.5


class Outlet:
    """Where one producer sends what belongs to one partition, with one append in flight.

    The partition remembers the producer's last sequence number, so an append that did arrive is
    answered with the ids of the first time. `resend` is for how many seconds one is repeated that
    got no answer. `short` is the way for one record alone, if there is one.
    """

    def __init__(
        self, stream: StreamSpec[Any], partition: int, resend: float, short: Short | None
    ) -> None:
        self._stream = stream
        self._appends = protocol.Appends(
            stream.prefix(partition), stream.agreement, stream.partition_size
        )
        self._resend = resend
        self._short = short
        self._gate = Gate()
        #: Who sends, and the number of their last append.
        self._sender, self._number = "", 0
        #: Nobody knows whether the append after that arrived, so another one under its number
        #: might be taken for its repeat.
        self._unsure = True

    async def append(
        self, batches: Iterable[list[list[bytes]]], policy: str, until: float, carry: Carry
    ) -> list[str]:
        """The ids of all entries, whose batches are appended one after the other.

        `policy` is that of the script. Waits for room until this moment of the loop's clock.
        Raises Full, or redis-py's errors.
        """
        ids: list[str] = []
        await self._gate.enter()
        try:
            for entries in batches:
                if self._unsure:
                    self._begin_anew()
                self._unsure = True
                reply = await self._carried(entries, policy, until, carry)
                self._number += 1
                self._unsure = False
                ids += protocol.appended_ids(reply)
            return ids
        finally:
            self._gate.leave()

    async def append_one(self, entry: list[bytes], policy: str, until: float, carry: Carry) -> str:
        """The id of one entry. The same, without the steps that most do not need."""
        short, gate = self._short, self._gate
        if short is None or self._unsure or gate.taken:
            (id_,) = await self.append([[entry]], policy, until, carry)
            return id_
        gate.taken = self._unsure = True
        head, number = self._appends.head, self._number + 1
        command: tuple[Arg, ...] = (*head, policy, self._sender, number, len(entry), *entry)
        try:
            try:
                (reply,) = await short((command,))
                if isinstance(reply, Exception):
                    raise error_from(reply)
            except NoScriptError:  # The long way teaches it.
                reply = await self._carried([entry], policy, until, carry)
            except Exception as problem:
                reply = await self._insist([entry], policy, until, carry, problem)
            self._number += 1
            self._unsure = False
            return protocol.text(reply[1])
        finally:
            gate.leave()

    async def _carried(
        self, entries: list[list[bytes]], policy: str, until: float, carry: Carry
    ) -> Any:
        """The reply to the append that is next."""
        try:
            return await carry(self._next(entries, policy))
        except Exception as problem:
            return await self._insist(entries, policy, until, carry, problem)

    def _next(self, entries: list[list[bytes]], policy: str) -> Call:
        return self._appends.call(policy, self._sender, self._number + 1, entries)

    def _begin_anew(self) -> None:
        """Send as somebody else: nobody knows what became of the last append, or of its number."""
        self._sender, self._number = secrets.token_hex(8), 0

    async def _insist(
        self,
        entries: list[list[bytes]],
        policy: str,
        until: float,
        carry: Carry,
        problem: Exception,
    ) -> Any:
        """The reply to an append that met a problem, after as many tries as it takes."""
        now, call = asyncio.get_running_loop().time, self._next(entries, policy)
        deadline, pause, look = now() + self._resend, 0.0, _FIRST_LOOK
        unanswered = False
        while True:
            if isinstance(problem, (ConnectionError, TimeoutError)):
                unanswered = True
                if now() >= deadline:
                    raise problem
                await asyncio.sleep(pause)
                pause = min(2 * pause + 0.05, _LONGEST_PAUSE)
            elif isinstance(problem, UnknownProducer):
                # Forgotten after a long silence: nothing is in flight, so start anew.
                self._begin_anew()
                call = self._next(entries, policy)
                deadline, pause = now() + self._resend, 0.0
            elif isinstance(problem, Full):
                if now() >= until:
                    self._unsure = unanswered  # The refused one took no number.
                    raise self._full(problem) from None
                await asyncio.sleep(look)
                look = min(look * 2, _LONGEST_LOOK)
                deadline, pause = now() + self._resend, 0.0
            else:
                raise problem
            try:
                return await carry(call)  # The same bytes again, unless the sender is another.
            except Exception as error:
                problem = error

    def _full(self, refusal: Full) -> Full:
        return Full(
            f"stream {self._stream.name}: partition full ({self._stream.partition_size} events) "
            f"because {refusal.reason}; wait=True waits for room",
            refusal.details,
        )
