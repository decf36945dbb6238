"""Writes a record as the fields of a Redis stream entry, and reads it back.

The name of the first field names the serializer of its value and, after ``+``, the compressor, such
as ``msgpack`` or ``json+lz4``. An entry of a primitive record starts with the field ``fields`` and
has one field for each field of the record. Fields whose names start with ``@`` are headers. So a
reader needs no configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import ConfigError, DecodeError, EncodeError
from runnel.record import RecordType
from runnel.record.culprit import culprit, raises
from runnel.record.messages import exactly, path

R = TypeVar("R")
Loader = Callable[[bytes], Any]

#: First field of the entries of primitive records; its value is the version of that form.
PRIMITIVE = b"fields"
PRIMITIVE_VERSION = b"1"
#: Fields of an entry, headers too: the scripts take no more.
MOST_FIELDS = 500
#: In the first field of entries with a compressed value.
COMPRESSED = b"+"

#: Serializers and compressors that several threads may use at the same time.
_THREAD_SAFE = (MsgpackSerializer, JSONSerializer, LZ4, Gzip)
_CODEC_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class EntryCodec(Generic[R]):
    """Writes records as entries and reads them back.

    `compress_over` is the payload size in bytes above which `compressor` is tried. Entries written
    with the built-in serializers and compressors are always readable; `known` adds others.
    Raises ConfigError if one of them has no usable name, or if the serializer is JSON and the
    record has a field of bytes.
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
        for each in (MsgpackSerializer(), JSONSerializer(), LZ4(), Gzip(), *known, serializer):
            self._add(each)
        if compressor is not None:
            self._add(compressor)
        self._tag = serializer.name.encode()
        self._loaders: dict[bytes, Loader] = {}
        self._load = record_type.load
        #: Is every plain value read back unchanged? If not sure, each entry is decoded as a check.
        self._keeps_values = (
            type(serializer) in (MsgpackSerializer, JSONSerializer)
            and compressor is None
            and record_type.dumps_lists
            and not record_type.primitive
        )
        self._dump_exact = record_type.dump_exact if self._keeps_values else None
        field = record_type.bytes_field
        if isinstance(serializer, JSONSerializer) and field and not record_type.primitive:
            raise ConfigError(
                f"{field} has bytes, which JSON cannot hold: use the msgpack serializer, or text"
            )

    @property
    def thread_safe(self) -> bool:
        """May several threads decode at the same time? Serializers and compressors of users may
        have objects that only one may use."""
        return all(type(each) in _THREAD_SAFE for each in self._parts())

    def _parts(self) -> Iterable[object]:
        return (*self._serializers.values(), *self._compressors.values())

    def _add(self, codec: Serializer | Compressor) -> None:
        if not _CODEC_NAME.fullmatch(codec.name) or codec.name == PRIMITIVE.decode():
            raise ConfigError(
                f"{type(codec).__name__}: the name {codec.name!r} cannot be used; start it with a "
                'lower-case letter, go on with these, digits, "-" and "_", and do not call it '
                '"fields"'
            )
        if isinstance(codec, Compressor):
            self._compressors[codec.name] = codec
        else:
            self._serializers[codec.name] = codec

    def encode(self, record: R, headers: Mapping[str, str] | None = None) -> list[bytes]:
        """Fields and values in turn.

        The entry is read back once as a check, unless the record is known to round-trip. Raises
        EncodeError, naming the field, if the record cannot be written or would be read back
        differently.
        """
        kind = self.record_type
        values = known = self._dump_exact(record) if self._dump_exact is not None else None
        if values is None:
            values = kind.dump(record)
        try:
            fields = self._primitive(values) if kind.primitive else self._payload(values)
        except Exception as error:  # A serializer, perhaps the user's, cannot write a value.
            field = path(kind.name, culprit(values, self._fails))
            raise EncodeError(f"{field}: {error}") from error
        if known is None:
            self._check(record, values, fields)
        if headers:
            fields = fields + _header_fields(headers)
        if len(fields) > 2 * MOST_FIELDS:
            count = f"{len(fields) // 2} fields with its headers"
            raise EncodeError(f"{kind.name} takes {count}, an entry has at most {MOST_FIELDS}")
        return fields

    def _fails(self, _: list[Any], inner: dict[Any, Any]) -> bool:
        if self.record_type.primitive:
            return raises(lambda: self._primitive(inner))
        return raises(lambda: self.serializer.dumps({"": list(inner.values())}))

    def _check(self, record: R, values: dict[str, Any], fields: list[bytes]) -> None:
        kind = self.record_type
        try:
            back = kind.load(values) if self._keeps_values else self.decode(fields)
        except DecodeError as error:
            raise EncodeError(
                f"{kind.name} cannot be written, as it could not be read again: {error}"
            ) from error
        kind.check(record, back)

    def decode(self, fields: Sequence[bytes]) -> R:
        """The record of an entry. Raises only DecodeError, if the entry cannot be read."""
        try:
            loader = self._loaders.get(fields[0])
            values = loader and loader(fields[1])
        except Exception:
            values = None
        if type(values) is dict and not len(fields) % 2:
            return self._load(values)
        return self._decode_carefully(fields)

    def _decode_carefully(self, fields: Sequence[bytes]) -> R:
        """Decode a primitive record, the first entry with a tag, or raise DecodeError."""
        values = self.plain(fields)
        if type(values) is not dict and self.record_type.is_map:
            raise DecodeError(f"the payload is {type(values).__name__}, not a map of fields")
        return self._load(values)

    def plain(self, fields: Sequence[bytes]) -> Any:
        """The plain values of an entry, which may be of another record. Raises only DecodeError, if
        the entry does not say how to read it, or is not as it says."""
        if not fields or len(fields) % 2:
            raise DecodeError("the entry is empty or ends in half a field")
        tag = fields[0]
        if type(tag) is not bytes:
            raise DecodeError(
                f"the entry's fields are {type(tag).__name__}, not bytes: read it with a client "
                "that has decode_responses off"
            )
        if tag == PRIMITIVE:
            return self._primitive_values(fields)
        self._loaders[tag] = loader = self._loader(tag)
        try:
            return loader(fields[1])
        except Exception as error:  # A serializer, perhaps the user's, cannot read the bytes.
            raise DecodeError(f"the payload is not valid {tag.decode()}: {error}") from error

    @staticmethod
    def headers(fields: Sequence[bytes]) -> dict[str, str]:
        """The headers of an entry. Bytes that are not UTF-8 become replacement characters."""
        return {
            name[1:].decode(errors="replace"): value.decode(errors="replace")
            for name, value in zip(fields[2::2], fields[3::2], strict=False)
            if name.startswith(b"@")
        }

    def _payload(self, values: dict[str, Any]) -> list[bytes]:
        payload, tag = self.serializer.dumps(values), self._tag
        if self.compressor is not None and len(payload) > self.compress_over:
            smaller = self.compressor.compress(payload)
            if len(smaller) < len(payload):
                return [tag + COMPRESSED + self.compressor.name.encode(), smaller]
        return [tag, payload]

    def _loader(self, tag: bytes) -> Loader:
        """The function that reads payloads with this tag."""
        name, compressed, compression = tag.decode(errors="replace").partition("+")
        serializer, compressor = self._serializers.get(name), self._compressors.get(compression)
        if serializer is None or (compressed and compressor is None):
            raise DecodeError(
                f"the entry starts with the field {_printed(tag)}, which names no serializer known "
                "here: another program may have written it, or it needs a custom serializer"
            )
        return _chain(serializer, compressor)

    def _primitive(self, values: dict[str, Any]) -> list[bytes]:
        return [PRIMITIVE, PRIMITIVE_VERSION, *self.record_type.primitive_form.write(values)]

    def _primitive_values(self, fields: Sequence[bytes]) -> dict[str, Any]:
        if fields[1] != PRIMITIVE_VERSION:
            raise DecodeError(
                f"the entry has form {_printed(fields[1])} of primitive records, and only form 1 "
                "is known here: a newer Runnel may have written it"
            )
        try:
            return self.record_type.primitive_form.read(fields[2:])
        except (ValueError, TypeError, AttributeError) as error:
            raise DecodeError(f"the entry's fields are not valid: {error}") from error


def _chain(serializer: Serializer, compressor: Compressor | None) -> Loader:
    loads = serializer.loads
    if compressor is None:
        return loads
    decompress = compressor.decompress
    return lambda data: loads(decompress(data))


def _header_fields(headers: Mapping[str, str]) -> list[bytes]:
    if not isinstance(headers, Mapping):
        raise EncodeError(f"headers must be a map of text to text, not {exactly(headers)}")
    fields: list[bytes] = []
    for name, text in headers.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise EncodeError(f"header {name!r}: names and values of headers must be text")
        try:
            fields += (b"@" + name.encode(), text.encode())
        except UnicodeEncodeError as error:
            raise EncodeError(f"header {name!r} is not valid text: {error}") from error
    return fields


def _printed(name: Any) -> str:
    return repr(name.decode(errors="replace")[:80] if isinstance(name, bytes) else name)
