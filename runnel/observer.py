"""What metrics and traces are made from: observers are told what an app does in this process.

Each method here does nothing. An app without observers pays nothing for them: what tells them are
subclasses, which are chosen when a worker claims a partition, or an app makes its producer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from runnel.log import logger_of

logger = logger_of("runnel.observer")

Headers = Mapping[str, str]
T = TypeVar("T")


#: Methods whose failure was logged.
_failed: set[str] = set()


def tell(method: Callable[..., T], *given: Any, instead: Any = None) -> T | Any:
    """What a method of an observer returns. If it raises, that is logged once, and `instead` is
    returned: events do not fail because nobody could be told of them."""
    try:
        return method(*given)
    except Exception as error:
        failed(method, error)
        return instead


def failed(method: Callable[..., object], error: Exception) -> None:
    """A method of an observer has raised. It is logged once."""
    name = getattr(method, "__qualname__", repr(method))
    if name not in _failed:
        _failed.add(name)
        logger.error("%s failed, and perhaps will again: %s", name, error, exc_info=error)


class Lease(NamedTuple):
    """The lease under which a member has a partition of a processor."""

    app: str
    processor: str
    stream: str
    partition: int
    epoch: int
    member: str


class PartitionObserver:
    """Is told of the events of one partition under one lease.

    An event is an id, fields and values in turn, and sometimes more, in a list. What is said to be
    in the context of the handler is called in its task, so that context variables that are set
    there are those of the handler.
    """

    def asked(self, ready: bool) -> None:
        """The handler asks for more, and has to wait unless the next event is `ready`. In the
        context of the handler."""

    def given(self, events: Sequence[Any], limit: int, waiting: int) -> None:
        """The handler gets these events, of at most `limit`, after it has asked; so many more wait
        for it. In the context of the handler."""

    def given_next(self, event: Any) -> None:
        """The handler gets the next event, without a wait. In the context of the handler."""

    def may_go_on(self) -> bool:
        """May the handler get a further event without having to ask?"""
        return True

    def begins(self, event: Any) -> None:
        """The handler begins with an event, beside others. In the context of its task."""

    def ended(self, event: Any, error: BaseException | None) -> None:
        """A try of an event that began beside others has ended."""

    def finished(self, events: Sequence[Any]) -> None:
        """The handler is done with these events."""

    def failed(self, error: BaseException, decision: str) -> None:
        """A try has failed. What follows is a `Decision`, such as "retry"."""

    def given_up(self, result: str) -> None:
        """The first event is not processed: "skipped", "dead_letter", "parked", "quarantined"."""

    def committing(self, checkpoint: str, count: int) -> None:
        """A commit of so many events is sent, perhaps again."""

    def committed(self, checkpoint: str, count: int) -> None:
        """It is done."""

    def closed(self) -> None:
        """Nothing more is written under the lease. May be called more than once."""


class SendObserver:
    """Is told of one send."""

    def headers(self, given: Headers | None) -> Headers | None:
        """The headers of the records that are sent, for those that were given."""
        return given

    def ended(self, sent: Sequence[Any], error: BaseException | None) -> None:
        """It has ended, with what was sent, or an error."""


class Observer:
    """Is told what an app does in this process."""

    def partition(self, lease: Lease) -> PartitionObserver:
        """A member has claimed a partition. Returns what is told of its events."""
        return PartitionObserver()

    def lease_lost(self, app: str, processor: str, reason: str) -> None:
        """A call was refused, because the lease had ended. `reason` is the word of the refusal."""

    def called(self, scripts: Sequence[str], seconds: float, outcomes: Sequence[object]) -> None:
        """Calls of these scripts have ended, which were made together, each with a reply or an
        exception. Several threads may call this."""

    def sending(self, app: str, stream: str, count: int) -> SendObserver:
        """So many records are about to be sent. Several threads may call this."""
        return SendObserver()

    def emit_headers(self, given: Headers | None) -> Headers | None:
        """The headers of a record that the handler emits, for those that it has given."""
        return given


class Send:
    """A send: its headers, and when it is done what was sent."""

    def __init__(self, headers: Any) -> None:
        self.headers = headers
        self.sent: Sequence[Any] = ()


@contextmanager
def sending(
    observers: Sequence[Observer], app: str, stream: str, count: int, headers: Any
) -> Iterator[Send]:
    """Tell observers of the send that is made inside."""
    told = [made for each in observers if (made := tell(each.sending, app, stream, count))]
    for each in told:
        headers = tell(each.headers, headers, instead=headers)
    send, error = Send(headers), None
    try:
        yield send
    except BaseException as raised:
        error = raised
        raise
    finally:
        for each in told:
            tell(each.ended, send.sent, error)
