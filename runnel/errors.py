"""Every exception Runnel raises.

::

    RunnelError
    ├── ConfigError               a setting, name or declaration is wrong; nothing was sent
    │   └── PartitionKeyError     a record has no usable partition key
    ├── RecordError
    │   ├── EncodeError           a record cannot be written as an entry
    │   │   └── RecordTooLarge    the encoded record is over `max_record_bytes`
    │   └── DecodeError           an entry cannot be read as the stream's record
    ├── HandlerError              what a worker says of a handler; a failure of the event in hand
    │   ├── HandlerReturned       it ended although its events go on
    │   ├── HandlerTimeout        it took longer than its `timeout`
    │   ├── IterationError        it iterates over its events in two places, or after their end
    │   ├── NothingRan            it returned what nobody runs
    │   └── WorkerDied            workers die while they process this event
    ├── Halted                    the policy HALT stops the worker: an event failed for good
    ├── HandlerExit               a handler or task asked for the end of the process
    ├── Removed                   an operator has removed a processor while a worker ran it
    ├── BurstBlocked              a quarantined or paused partition keeps a burst from its end
    ├── ServerError               Redis is reachable but cannot be used as it is
    │   └── ServerUnreachable     Redis cannot be reached
    └── ProtocolError             a script refused a call; one class per error word
        ├── BadArgument           BADARG
        ├── Mismatch              MISMATCH
        ├── Unregistered          UNREGISTERED
        ├── Fenced                FENCED
        ├── Conflict              CONFLICT
        ├── Missing               MISSING
        ├── StaleGrant            STALE_GRANT
        ├── Replaced              REPLACED
        ├── Full                  FULL
        ├── OutOfOrder            OUTOFORDER
        └── UnknownProducer       UNKNOWN_PRODUCER
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


class RunnelError(Exception):
    """Root of all errors raised by Runnel."""

    #: In an error that leaves `send`: the place of each record that was sent, in order, else None.
    sent: Sequence[Any] = ()


class ConfigError(RunnelError):
    """A setting, a name or a declaration is wrong. The message names it and the fix."""


class PartitionKeyError(ConfigError):
    """A record has no usable partition key: the field is missing, its type has no key form, or
    `partition_by` raised."""


class RecordError(RunnelError):
    """A record and an entry do not fit each other."""


class EncodeError(RecordError):
    """A record cannot be written as an entry. Nothing was sent."""


class RecordTooLarge(EncodeError):
    """The encoded record is larger than the setting `max_record_bytes`. Nothing was sent."""


class DecodeError(RecordError):
    """An entry cannot be read as the record of its stream: corrupt bytes, an unknown codec,
    an entry that another program wrote, or values that the record type refuses."""


class HandlerError(RunnelError):
    """What a worker says of a handler. It counts as a failure of the event in hand."""


class HandlerReturned(HandlerError):
    """A handler, or a middleware, ended although its partition goes on."""


class HandlerTimeout(HandlerError, TimeoutError):
    """An event, or a batch, took longer than the processor's `timeout`."""


class IterationError(HandlerError):
    """A handler iterates over its events in two places at once, so that nobody could tell which of
    them are finished; or it goes on with events that are over for it."""


class NothingRan(HandlerError):
    """A handler or task returned what nobody runs: a generator, or nothing to await where it had to
    be something."""


class WorkerDied(HandlerError):
    """Workers died, or were silent until their session had ended, while they processed this event,
    more often than its retries allow."""


class Halted(RunnelError):
    """The policy HALT stops the worker: an event failed for good. The event is still there."""


class HandlerExit(RunnelError):
    """A handler, task or middleware called `sys.exit` or raised KeyboardInterrupt: the worker hands
    everything back and its process ends with `code`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def of(cls, error: BaseException) -> HandlerExit:
        """For a SystemExit or a KeyboardInterrupt. `sys.exit` with a text means 1, as always."""
        if not isinstance(error, SystemExit):
            return cls("KeyboardInterrupt", 130)
        if error.code is None or isinstance(error.code, int):
            # The system keeps eight bits: 256 would be told as 0, which is a good end.
            code = (error.code & 255 or 1) if error.code else 0
            return cls(f"sys.exit({error.code or 0})", code)
        return cls(str(error.code), 1)


def asked_to_end(error: BaseException | None) -> SystemExit | KeyboardInterrupt | None:
    """What in an error asks for the end of the process: itself, or one of a group."""
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    return next((found for each in error.exceptions if (found := asked_to_end(each))), None)


class Removed(RunnelError):
    """An operator has removed the processor while this worker ran it."""


class BurstBlocked(RunnelError):
    """A quarantined or paused partition stands in the way of a burst."""


class ServerError(RunnelError):
    """Redis answers but cannot be used as it is: too old, read-only, missing permissions.
    The message is one sentence with the fix."""


class ServerUnreachable(ServerError):
    """Redis cannot be reached at the configured address."""


class ProtocolError(RunnelError):
    """A script refused a call. `word` is the error word and `details` its ``key=value`` pairs.

    A refused call has written nothing.
    """

    word = "ERR"

    def __init__(self, message: str, details: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, str] = details or {}


class BadArgument(ProtocolError):
    """A call is malformed: a bug in the client, never a state of the system."""

    word = "BADARG"


class Mismatch(ProtocolError):
    """The caller and the stored state disagree on something all clients must share:
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
    """The token is no longer the partition's: another member holds the partition now."""

    word = "FENCED"


class Conflict(ProtocolError):
    """The stored checkpoint is neither the one a commit starts from nor the one it leads to."""

    word = "CONFLICT"


class Missing(ProtocolError):
    """The log or the processor's consumer group has vanished."""

    word = "MISSING"


class StaleGrant(ProtocolError):
    """A claim came with a grant that is not newer than the one the partition has seen."""

    word = "STALE_GRANT"


class Replaced(ProtocolError):
    """Another worker has joined the group under this member id."""

    word = "REPLACED"


class Full(ProtocolError):
    """A partition has no room and retention may not make any: a registered processor has not
    passed its oldest events. `details` names the `processor` that holds it back."""

    word = "FULL"

    @property
    def reason(self) -> str:
        """Why retention may not make room, as a clause behind "because"."""
        processor = self.details.get("processor")
        if not processor:
            return "no processor is registered that could pass its oldest events"
        if self.details.get("group") == "missing":
            return f"the consumer group of the registered processor {processor} is missing"
        return f"the registered processor {processor} has not passed its oldest events"

    @property
    def sink(self) -> str | None:
        """The stream that is full, if it is one that a processor's commit writes to."""
        log = self.details.get("sink")
        return None if log is None else log.split(":")[-2]


class OutOfOrder(ProtocolError):
    """An append skipped a sequence number of its producer."""

    word = "OUTOFORDER"


class UnknownProducer(ProtocolError):
    """The partition no longer remembers this producer, so a repeat could not be told from
    a new append. Start a new producer."""

    word = "UNKNOWN_PRODUCER"


#: Error word of the protocol -> exception. The only place that maps them.
BY_WORD: dict[str, type[ProtocolError]] = {
    error.word: error
    for error in (
        BadArgument,
        Mismatch,
        Unregistered,
        Fenced,
        Conflict,
        Missing,
        StaleGrant,
        Replaced,
        Full,
        OutOfOrder,
        UnknownProducer,
    )
}


def another(error: Exception) -> Exception:
    """The same error, for somebody else who is told of it: what one adds to it is their own."""
    try:
        made = copy.copy(error)
    except Exception:  # Its class takes other arguments than it keeps.
        return error
    return made.with_traceback(error.__traceback__)


def with_sent(error: BaseException, sent: Sequence[Any]) -> None:
    """Note in an error that leaves `send` the place of each record that was sent, else None."""
    vars(error)["sent"] = list(sent)
