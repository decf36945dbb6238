"""Appends to one partition for one numbered producer: each event at most once, in order."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from runnel import protocol
from runnel.errors import EarlierNotSent, ProducerInUse
from runnel.producer.error_copies import copy_of
from runnel.producer.partition_appender import Append, Declarer, MakeCall, PartitionAppender
from runnel.protocol import AppendedNumbered, NumberedEntry
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Call
from runnel.stream import StreamSpec

Number = tuple[int, int]


class NumberedSend:
    """The events of one send to one partition, in batches; their numbers rise.

    `ids` are those of the events that were appended, None for one that was there before.
    """

    __slots__ = ("batches", "cause", "ended", "ids", "place", "policy", "since", "turn", "until")

    def __init__(self, batches: list[list[NumberedEntry]], policy: str, until: float) -> None:
        self.batches = batches
        self.policy = policy
        self.until = until
        self.since = asyncio.get_running_loop().time()
        self.ids: list[str | None] = []
        #: Its place among all sends to the partition; None until it enters.
        self.place: int | None = None
        self.turn: asyncio.Future[None] | None = None
        self.ended = False
        #: Why an earlier send was not sent: then this one must not be sent either.
        self.cause: Exception | None = None


class NumberedAppend(Append):
    """One call of a send."""

    __slots__ = ("entries",)

    def __init__(self, entries: list[NumberedEntry], send: NumberedSend) -> None:
        super().__init__(send.policy, send.since, send.until)
        self.entries = entries

    def number(self, index: int) -> Number:
        """The number of an event."""
        return parts(self.entries[index][0])


class NumberedPartition(PartitionAppender[NumberedAppend]):
    """Appends to one partition for one numbered producer, with one append in flight.

    What arrives after a larger number counts as there. So a send must never pass an earlier one: if
    one fails or is cancelled, those behind it fail.
    """

    def __init__(
        self, stream: StreamSpec[Any], partition: int, producer: Declarer, sender: str
    ) -> None:
        super().__init__(stream, partition, producer)
        self._sender = sender
        #: The sends that have not ended, oldest first; none that an earlier one makes fail.
        self._sends: dict[NumberedSend, None] = {}
        self._places = count()
        #: The largest number that is known to be in the partition; None before the first reply.
        self._last: Number | None = None
        #: The largest number of an append that failed: it may have arrived.
        self._in_doubt: Number = (-1, -1)

    def enter(self, send: NumberedSend) -> None:
        """Take a place behind the sends that have entered. `leave` must follow."""
        send.place = next(self._places)
        self._sends[send] = None
        drops_oldest = send.policy == "drop_oldest"
        send.turn = self._order.enter(send, send.since, send.until, drops_oldest)

    def leave(self, send: NumberedSend, error: BaseException | None = None) -> None:
        """Give the place up. After an error, the sends that entered meanwhile fail with it: so the
        caller must not leave before it has taken note of the error."""
        if send.ended or send.place is None:
            return
        send.ended = True
        self._sends.pop(send, None)
        if error is not None:
            self._fail_behind(send.place, error)
        if send.turn is not None:
            send.turn.cancel()
        self._order.release(send)

    def _fail_behind(self, place: int, error: BaseException) -> None:
        later = []
        for each in reversed(self._sends):
            if each.place is not None and each.place < place:
                break
            later.append(each)
        for each in later:
            del self._sends[each]
            each.cause = error if isinstance(error, Exception) else self._earlier_not_sent()
            if each.turn is not None and not each.turn.done():
                each.turn.set_exception(copy_of(each.cause))

    async def append(self, send: NumberedSend, make_call: MakeCall) -> None:
        """Append the events of a send that has entered, and add their ids to it. Then it has left,
        unless this raises: Full, ProducerInUse, EarlierNotSent, or redis-py's errors.
        """
        if send.turn is not None:
            await self._order.wait_for(send, send.turn)
        for entries in send.batches:
            if send.cause is not None:
                raise copy_of(send.cause)
            append = NumberedAppend(entries, send)
            try:
                reply = await self._send(append, make_call)
            except BaseException:
                self._in_doubt = max(self._in_doubt, append.number(-1))
                raise
            self._read(send, append, protocol.read_append_numbered(reply))
        self.leave(send)

    def _call_of(self, append: NumberedAppend) -> Call:
        spec = self._stream
        options = (spec.contract, spec.limits, append.policy, self._sender)
        return protocol.append_numbered(self._prefix, *options, append.entries)

    def _read(self, send: NumberedSend, append: NumberedAppend, reply: AppendedNumbered) -> None:
        """Add the ids in a reply to the send. Raises ProducerInUse if events were there that this
        process can only send now."""
        # Without a lost reply, events that this call has not added were there before it.
        ids = reply.ids if reply.added or append.unanswered else []
        there = len(append.entries) - reply.added
        send.ids += [*[None] * (len(append.entries) - len(ids)), *ids]
        known = parts(reply.last) if self._last is None else self._last
        self._last = max(known, append.number(-1))
        if there and not append.unanswered:
            number = append.number(there - 1)
            if number > max(known, self._in_doubt):
                self._last = None
                raise ProducerInUse(
                    f"stream {self._stream.name}, partition {self._partition}: there is an event "
                    f"number {number[0]} of {self._sender} that this process has not sent. Another "
                    "process sends under the same id: give each process an id of its own, or stop "
                    "the other one"
                )

    def _earlier_not_sent(self) -> EarlierNotSent:
        return EarlierNotSent(
            f"stream {self._stream.name}, partition {self._partition}: a send of {self._sender} "
            "before this one was cancelled, so this one was not sent either; send both again, the "
            "earlier one first"
        )
