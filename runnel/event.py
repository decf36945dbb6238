"""One event, as a handler sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from runnel.codec.entry import EntryCodec
from runnel.core.partition import Raw

R = TypeVar("R")


class Event(Generic[R]):
    """One event. The record is decoded when it is first asked for."""

    __slots__ = ("_codec", "_raw", "_record", "partition")

    def __init__(self, raw: Raw, partition: int, codec: EntryCodec[R]) -> None:
        self.partition = partition
        self._raw = raw
        self._codec = codec
        self._record: R | None = None

    @property
    def id(self) -> str:
        """Its id in the partition, which rises from event to event."""
        text: str = self._raw[0].decode()
        return text

    @property
    def fields(self) -> Sequence[bytes]:
        """The fields and values of the entry in turn, as they were sent."""
        fields: Sequence[bytes] = self._raw[1]
        return fields

    @property
    def record(self) -> R:
        """The record. Raises DecodeError if the entry is none of the stream's records."""
        if self._record is None:
            self._record = self._codec.decode(self._raw[1])
        return self._record

    @property
    def headers(self) -> dict[str, str]:
        """The headers it was sent with."""
        return self._codec.headers(self._raw[1])

    def __repr__(self) -> str:
        return f"Event({self.partition}/{self.id})"
