"""Every exception class of Runnel.

::

    RunnelError
    ├── ConfigError               a setting, name or declaration is wrong; nothing was sent
    │   └── PartitionKeyError     a record has no usable partition key
    ├── RecordError
    │   ├── EncodeError           a record cannot be written as an entry
    │   │   └── RecordTooLarge    the encoded record is over `max_record_bytes`
    │   └── DecodeError           an entry cannot be read as the stream's record
    ├── HandlerError              the handler failed in a way that a worker found; the event failed
    │   ├── HandlerDied           its process, of `runnel worker --exec`, ended before it answered
    │   ├── HandlerReturned       it returned before the end of its events
    │   ├── HandlerTimeout        it took longer than its `timeout`
    │   ├── IterationError        it iterates over its events twice at a time, or after their end
    │   ├── NotLoaded             it used a key of a table that was not read from Redis
    │   ├── TooManyWrites         it wrote more for one event than a commit may hold
    │   ├── NothingRan            it returned an object that nothing runs, such as a generator
    │   └── WorkerDied            workers die while they process this event
    ├── NotInHandler              a table or `emit` was used outside a handler with an event
    ├── LoopRunning               `send_sync` was called where an event loop runs
    ├── ProducerInUse             another process sends under the same producer id
    ├── EarlierNotSent            a number before this one was not sent, so this one was not either
    ├── Halted                    the policy HALT stops the worker: an event failed for good
    ├── HandlerExit               a handler or task wants the process to exit
    ├── LifespanFailed            a function for the start or the end of a worker failed
    ├── Removed                   an operator has removed a processor while a worker ran it
    ├── BurstBlocked              a quarantined or paused partition keeps a burst from finishing
    ├── ServerError               Redis is reachable but cannot be used as it is
    │   └── ServerUnreachable     Redis cannot be reached
    ├── OutputLost                the output of a command cannot be written
    ├── ReplyTooLarge             a reply was broken off: the worker reads again, with fewer events
    └── ProtocolError             a script refused a call; one class per error word
        ├── BadArgument           BADARG
        ├── Mismatch              MISMATCH
        ├── Unregistered          UNREGISTERED
        ├── Fenced                FENCED
        ├── Conflict              CONFLICT
        ├── NotWriter             NOT_WRITER
        ├── Missing               MISSING
        ├── StaleGrant            STALE_GRANT
        ├── Replaced              REPLACED
        ├── Full                  FULL
        ├── Overdue               OVERDUE
        ├── OutOfOrder            OUTOFORDER
        ├── Unforwarded           UNFORWARDED
        └── UnknownProducer       UNKNOWN_PRODUCER

    Exception                     inside Runnel only
    ├── InputCutOff               the input file of a command breaks off
    └── Doubt                     a value is not known to round-trip: its record is checked
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class RunnelError(Exception):
    """The base class of all errors of Runnel."""

    #: In an error of `send`: for each record, in order, the `Sent` of one that was sent, else None.
    sent: Sequence[Any] = ()


class ConfigError(RunnelError):
    """A setting, a name or a declaration is wrong. The message names it and the fix."""


class PartitionKeyError(ConfigError):
    """A record has no field or type that can be a partition key, or `partition_by` raised."""


class RecordError(RunnelError):
    """A record cannot be written as an entry, or an entry cannot be read as a record."""


class EncodeError(RecordError):
    """A record cannot be written as an entry. Nothing was sent."""


class RecordTooLarge(EncodeError):
    """The encoded record is larger than the setting `max_record_bytes`. Nothing was sent."""


class DecodeError(RecordError):
    """An entry cannot be read as a record of its stream: its bytes, codec or values are wrong."""


class HandlerError(RunnelError):
    """A worker found a fault of a handler. It counts as a failure of the current event."""


class HandlerDied(HandlerError):
    """A handler process ended before it answered. `given`: did it get the request? `alone`: had it
    only this one, so that this is the reason, as far as one can tell?"""

    alone = given = True


class HandlerReturned(HandlerError):
    """A handler, or a middleware, returned before the end of its events."""


class HandlerTimeout(HandlerError, TimeoutError):
    """An event, or a batch, took longer than the processor's `timeout`."""


class IterationError(HandlerError):
    """A handler iterates over its events in two places at once, or after they have ended."""


class NotLoaded(HandlerError):
    """A handler used a key of a table that was not read from Redis. The message names the key."""


class TooManyWrites(HandlerError):
    """A handler wrote or emitted more for one event or batch than a commit may hold."""


class NothingRan(HandlerError):
    """A handler or task returned an object that nothing runs: a generator, no awaitable."""


class WorkerDied(HandlerError):
    """Workers died or were silent with this event more often than its retries allow."""


class NotInHandler(RunnelError):
    """A table was used, or a record emitted, where no handler has an event for it."""


class LoopRunning(RunnelError, RuntimeError):
    """A call that waits was made where an event loop runs. Nothing was sent: await instead."""


class ProducerInUse(RunnelError):
    """Another process sends under the id of this numbered producer: both must not at a time."""


class EarlierNotSent(RunnelError):
    """An earlier number of this numbered producer failed: send it again before this one."""


class Halted(RunnelError):
    """The policy HALT stops the worker: an event failed on its last try. It is not committed."""


class HandlerExit(RunnelError):
    """A handler, task or middleware called `sys.exit` or raised KeyboardInterrupt. The worker
    releases its partitions, and its process exits with `code`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def of(cls, error: BaseException) -> HandlerExit:
        """From a SystemExit or a KeyboardInterrupt. `sys.exit` with a text means 1."""
        if not isinstance(error, SystemExit):
            return cls("KeyboardInterrupt", 130)
        if error.code is None or isinstance(error.code, int):
            # The system keeps eight bits: 256 would become 0, which means success.
            code = (error.code & 255 or 1) if error.code else 0
            return cls(f"sys.exit({error.code or 0})", code)
        return cls(str(error.code), 1)


class LifespanFailed(RunnelError):
    """A startup or shutdown function, or the lifespan, failed: `__cause__` is what it raised."""


class Removed(RunnelError):
    """An operator has removed the processor while this worker ran it."""


class BurstBlocked(RunnelError):
    """A burst cannot finish because a partition is quarantined or paused."""


class ServerError(RunnelError):
    """Redis answers but cannot be used as it is. The message is one sentence with the fix."""


class ServerUnreachable(ServerError):
    """Redis cannot be reached at the configured address."""


class OutputLost(RunnelError):
    """The output of a command could not be written completely."""


class InputCutOff(Exception):
    """An input file cannot be read to its end. The message says why."""


class Doubt(Exception):
    """A value is not known to round-trip. `send` catches it, and decodes the record as a check."""


class ReplyTooLarge(RunnelError):
    """A reply has more bytes than its reader has room for, and was broken off."""


class ProtocolError(RunnelError):
    """A script refused a call and wrote nothing. `details` has the ``key=value`` pairs."""

    word = "ERR"

    def __init__(self, message: str, details: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, str] = details or {}


class BadArgument(ProtocolError):
    """A call is malformed, which is a bug in the client."""

    word = "BADARG"


class Mismatch(ProtocolError):
    """The caller and Redis have different values of something that all clients must share:
    partition count, hash name or protocol version. `details` has both values."""

    word = "MISMATCH"

    def __str__(self) -> str:
        return f"{self.explained()} ({super().__str__()})" if self.details else super().__str__()

    def explained(self) -> str:
        """A sentence with both values and the fix."""
        field, stream = self.details.get("field", ""), self.details.get("stream")
        stored, given = self.details.get("stored", "?"), self.details.get("given", "?")
        if field == "protocol":
            return (
                f"Redis holds protocol version {stored}, this Runnel speaks {given}: upgrade Runnel"
            )
        name = {"partitions": "partition_count", "hash": "hasher"}.get(field, field)
        where = f"stream {stream}" if stream else "the stream"
        return (
            f"{where} was made with {name}={stored}, the code says {given}. Say {stored}; to "
            "change it, declare a new stream and drain this one into it"
        )


class Unregistered(ProtocolError):
    """The processor is not registered on this partition (see `runnel processor add`)."""

    word = "UNREGISTERED"


class Fenced(ProtocolError):
    """The token is no longer that of the partition: another member owns the partition now."""

    word = "FENCED"


class Conflict(ProtocolError):
    """The stored checkpoint is neither the one a commit starts from nor the one it sets."""

    word = "CONFLICT"


class NotWriter(ProtocolError):
    """Another processor writes the table. `details` names the `table` and its `writer`."""

    word = "NOT_WRITER"

    def __str__(self) -> str:
        table, writer = self.details.get("table"), self.details.get("writer")
        own = f"declare it with processor={writer!r}, and another table for this one"
        return f"the table {table} is written by the processor {writer}, and has one writer: {own}"


class Missing(ProtocolError):
    """The log or the processor's consumer group no longer exists."""

    word = "MISSING"


class StaleGrant(ProtocolError):
    """The grant of a claim is not newer than the last one that the partition accepted."""

    word = "STALE_GRANT"


class Replaced(ProtocolError):
    """Another worker has joined the group under this member id."""

    word = "REPLACED"


class Full(ProtocolError):
    """A partition is full: the `processor` in `details` has not committed the oldest events."""

    word = "FULL"

    @property
    def reason(self) -> str:
        """Why retention must not remove events, as a clause behind "because"."""
        processor = self.details.get("processor")
        if not processor:
            by = ": only another group reads it" if "reader" in self.details else ""
            return f"no processor is registered that could commit its oldest events{by}"
        if self.details.get("group") == "missing":
            return f"the consumer group of the registered processor {processor} is missing"
        return f"the registered processor {processor} has not committed its oldest events"

    @property
    def sink(self) -> str | None:
        """The name of the full stream, if a processor's commit writes to it; else None."""
        log = self.details.get("sink")
        return None if log is None else log.split(":")[-2]


class Overdue(ProtocolError):
    """Delayed events are due and enter the log first: `send` promotes them and sends again."""

    word = "OVERDUE"


class OutOfOrder(ProtocolError):
    """An append does not have the next sequence number of its producer."""

    word = "OUTOFORDER"


class Unforwarded(ProtocolError):
    """A processor cannot be removed while entries that it has emitted wait to be forwarded."""

    word = "UNFORWARDED"

    def __str__(self) -> str:
        waiting, outbox = self.details.get("waiting", "?"), self.details.get("outbox", "?")
        return (
            f"{waiting} of its emitted entries wait in {outbox} for other streams, and would be "
            "lost: start a worker, which forwards them; or delete that key if they may be lost"
        )


class UnknownProducer(ProtocolError):
    """The partition has forgotten this producer, and would take its repeat for a new append."""

    word = "UNKNOWN_PRODUCER"


#: Error word of the protocol -> exception. No other code maps them.
BY_WORD = {each.word: each for each in ProtocolError.__subclasses__()}
