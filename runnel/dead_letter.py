"""`DeadLetter`: the record of an event that kept failing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from runnel.record import Record


class DeadLetter(Record):
    """An event that its processor gave up, with its error.

    `event` is its id. `attempts` is how often it failed. `at` is when it was given up. `fields` are
    the fields and values of the event in turn, unchanged: `Stream.original` reads its record.
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
        """A dead letter of this moment. `event` is id and fields, `error` type and message."""
        return cls(
            stream=stream,
            processor=processor,
            partition=partition,
            event=event[0],
            attempts=attempts,
            error_type=error[0],
            # Half a surrogate pair cannot be stored, and must not keep the letter from being sent.
            error_message=error[1][:1000].encode(errors="replace").decode(),
            at=datetime.now(UTC),
            fields=list(event[1]),
        )
