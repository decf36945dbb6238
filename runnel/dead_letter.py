"""Events that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from runnel.record import Record


class DeadLetter(Record):
    """An event that its processor gave up on, with what is needed to process it later.

    `fields` are the event's own fields and values in turn, as they were: `Stream.original` reads
    the record in them.
    """

    stream: str
    processor: str
    partition: int
    event: str
    attempts: int
    error_type: str
    error_message: str
    at: datetime
    fields: list[bytes]

    @classmethod
    def of(
        cls,
        stream: str,
        processor: str,
        partition: int,
        event: tuple[str, Sequence[bytes]],
        attempts: int,
        error: tuple[str, str],
    ) -> DeadLetter:
        """A letter that is written now. `event` is its id and fields, `error` type and message."""
        return cls(
            stream=stream,
            processor=processor,
            partition=partition,
            event=event[0],
            attempts=attempts,
            error_type=error[0],
            error_message=error[1][:1000],
            at=datetime.now(UTC),
            fields=list(event[1]),
        )
