"""`Event`: one event, as a handler gets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from runnel.codec.entry import EntryCodec
from runnel.core.reading import Raw, record_of
from runnel.stream import Stream

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Event(Generic[R_co]):
    """One event of a partition. Its record is decoded at the first access."""

    __slots__ = ("_codec", "_raw", "_record", "partition")

    def __init__(self, raw: Raw, partition: int, codec: EntryCodec[R_co]) -> None:
        self.partition = partition
        self._raw = raw
        self._codec = codec
        self._record: R_co | None = None

    @classmethod
    def of(
        cls,
        stream: Stream[R],
        record: R,
        *,
        id: str = "1-0",
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
    ) -> Event[R]:
        """An event made by hand, to call a function of an event in a test: as if the record had
        been sent to the stream and read again. `partition` is that of the record, unless it is
        given. Raises EncodeError and PartitionKeyError, as `Stream.send` does.
        """
        spec = stream.spec
        fields = spec.encode(record, headers)
        number = spec.partition(record) if partition is None else partition
        raw: Raw = [id.encode(), fields]
        return Event(raw, number, spec.codec)

    @property
    def id(self) -> str:
        """The id of the event, such as 1795435471123-0. Ids of a partition rise."""
        text: str = self._raw[0].decode()
        return text

    @property
    def fields(self) -> Sequence[bytes]:
        """The fields and values of the stream entry in turn, as they were sent."""
        fields: Sequence[bytes] = self._raw[1]
        return fields

    @property
    def record(self) -> R_co:
        """The record. Raises DecodeError if the entry is not a record of the stream."""
        if self._record is None:
            self._record = record_of(self._raw, self._codec.decode)
        return self._record

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the event was sent with."""
        return self._codec.headers(self._raw[1])

    def __repr__(self) -> str:
        return f"Event(id={self.id!r}, partition={self.partition})"
