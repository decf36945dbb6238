"""The wire form of one event: the fields of a Redis stream entry.

The name of the first field says how to read its value: a serializer, and after ``+`` a compressor,
such as ``msgpack`` or ``json+lz4``. An entry of a primitive record starts with the field ``fields``
and has one field for each of the record's. Fields whose names start with ``@`` are headers. So a
reader needs no configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from runnel.compressors import LZ4, Compressor, Gzip
from runnel.errors import ConfigError, DecodeError, EncodeError
from runnel.record import RecordType
from runnel.serializers import JSONSerializer, MsgpackSerializer, Serializer

R = TypeVar("R")

PRIMITIVE = b"fields"


class EntryCodec(Generic[R]):
    """Writes records as entries and reads them back.

    `compress_over` is the payload size in bytes above which `compressor` is tried. Entries written
    with the built-in serializers and compressors are always readable; `known` adds others.
    """

    def __init__(
        self,
        record_type: RecordType[R],
        serializer: Serializer,
        compressor: Compressor | None = None,
        compress_over: int = 256,
        known: Iterable[Serializer | Compressor] = (),
    ) -> None:
        self.record_type = record_type
        self.serializer = serializer
        self.compressor = compressor
        self.compress_over = compress_over
        self._serializers: dict[str, Serializer] = {}
        self._compressors: dict[str, Compressor] = {}
        for each in (JSONSerializer(), MsgpackSerializer(), LZ4(), Gzip(), *known):
            self._add(each)
        self._add(serializer)
        if compressor is not None:
            self._add(compressor)
        self._tag = serializer.name.encode()
        self._loaders: dict[bytes, Callable[[bytes], Any]] = {}

    def _add(self, codec: Serializer | Compressor) -> None:
        if not codec.name.replace("-", "").replace("_", "").isalnum() or codec.name == "fields":
            raise ConfigError(f"{codec.name!r} is no name for a serializer or compressor")
        if isinstance(codec, Compressor):
            self._compressors[codec.name] = codec
        else:
            self._serializers[codec.name] = codec

    def encode(self, record: R, headers: Mapping[str, str] | None = None) -> list[bytes]:
        """Fields and values in turn. Raises EncodeError if the record cannot be written."""
        values = self.record_type.dump(record)
        if self.record_type.primitive:
            entry = [PRIMITIVE, b"1"]
            for name, value in values.items():
                if value is not None:
                    entry += (name.encode(), _native(name, value))
        else:
            payload, tag = self.serializer.dumps(values), self._tag
            if self.compressor is not None and len(payload) > self.compress_over:
                smaller = self.compressor.compress(payload)
                if len(smaller) < len(payload):
                    payload, tag = smaller, tag + b"+" + self.compressor.name.encode()
            entry = [tag, payload]
        for name, text in (headers or {}).items():
            entry += (b"@" + name.encode(), text.encode())
        return entry

    def decode(self, entry: Sequence[bytes]) -> R:
        """The record of an entry. Raises DecodeError, and nothing else, if there is none."""
        if len(entry) < 2:
            raise DecodeError("the entry is empty")
        tag = entry[0]
        if tag == PRIMITIVE and self.record_type.primitive:
            return self.record_type.load(self._native_values(entry))
        try:
            values = (self._loaders.get(tag) or self._loader(tag))(entry[1])
        except DecodeError:
            raise
        except Exception as error:  # A serializer, perhaps the user's, met bytes it cannot read.
            raise DecodeError(f"the payload is not valid {tag.decode()}: {error}") from error
        if type(values) is not dict:
            raise DecodeError(f"the payload is a {type(values).__name__}, not a map of fields")
        return self.record_type.load(values)

    @staticmethod
    def headers(entry: Sequence[bytes]) -> dict[str, str]:
        """The headers of an entry."""
        return {
            name[1:].decode(errors="replace"): value.decode(errors="replace")
            for name, value in zip(entry[::2], entry[1::2], strict=False)
            if name.startswith(b"@")
        }

    def _loader(self, tag: bytes) -> Callable[[bytes], Any]:
        """Find how to read a payload, and remember it."""
        name, _, compression = tag.decode(errors="replace").partition("+")
        serializer = self._serializers.get(name)
        if serializer is None or (compression and compression not in self._compressors):
            raise DecodeError(
                f"the entry starts with the field {tag.decode(errors='replace')[:80]!r}, which no "
                "serializer here writes: another program may have added it"
            )
        loader: Callable[[bytes], Any] = serializer.loads
        if compression:
            loads, decompress = serializer.loads, self._compressors[compression].decompress

            def loader(data: bytes) -> Any:
                return loads(decompress(data))

        self._loaders[tag] = loader
        return loader

    @staticmethod
    def _native_values(entry: Sequence[bytes]) -> dict[str, Any]:
        try:
            return {
                name.decode(): value.decode()
                for name, value in zip(entry[2::2], entry[3::2], strict=True)
                if not name.startswith(b"@")
            }
        except ValueError as error:
            raise DecodeError(f"the entry's fields are not text in pairs: {error}") from error


def _native(name: str, value: Any) -> bytes:
    """The text of one field of a primitive record."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (int, float)):
        return repr(value).encode()
    raise EncodeError(
        f"{name}: a {type(value).__name__} cannot be stored natively; primitive records have flat "
        "fields of text, numbers and booleans"
    )
