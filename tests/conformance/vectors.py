"""The routing and entries in ``lua/conformance``: ``scripts/lua-conformance`` writes them.

They are written from the Python client, and other clients are checked against them. What JSON
cannot say, a value of this form does: ``{"$int": "9223372036854775808"}`` for an integer that not
every language reads exactly, ``{"$bytes": "00ff"}`` for bytes, in hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import lz4.frame
import xxhash

from runnel.codec.compressors import Gzip
from runnel.codec.partitioning import key_bytes
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer
from runnel.protocol.scripts import folder

FOLDER = folder() / "conformance"
#: Partition counts for which the vectors name the partition.
COUNTS = (1, 7, 12, 64, 1000, 10_000)
#: Integers beyond this are not exact in a language that has only floating-point numbers.
EXACT = 2**53 - 1
COMBINED = "e\u0301"  # Not the same text as the single character é: nothing is normalised.

TEXTS: tuple[str, ...] = (
    "",
    "a",
    "42",
    "-1",
    "customer-12345678",
    "zażółć",
    "😀",
    "é",
    COMBINED,
    " a ",
    "A",
    "a\n",
)
TEXTS += ("\x00", "x" * 31, "x" * 32, "x" * 33, "x" * 1000, "true", "1.0", "null")
INTEGERS = (0, 1, 42, -1, EXACT, EXACT + 1, 2**63 - 1, -(2**63), 2**64 - 1, 10**30)
UUIDS = ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000000")
BYTES = (b"", b"a", b"\x00", b"\xff\xfe", bytes(range(256)))
REFUSED: tuple[tuple[str, str], ...] = (
    ("float", "1.5"),
    ("float", "1.0"),
    ("boolean", "true"),
    ("null", "null"),
)
REFUSED += (("text", "\ud800"),)  # Half a surrogate pair is no text.

RECORDS: dict[str, dict[str, Any]] = {
    "empty": {},
    "flat": {"order_id": 1, "amount": 100, "note": "zażółć 😀", "paid": True, "at": None},
    "negative": {"a": -1, "b": -32, "c": -33, "d": -128, "e": -129, "f": -32769, "g": -(2**31) - 1},
    "positive": {"a": 127, "b": 128, "c": 255, "d": 256, "e": 65535, "f": 65536, "g": 2**32},
    "limits": {"least": -(2**63), "most": 2**64 - 1, "exact": EXACT, "inexact": EXACT + 1},
    "floats": {"a": 0.5, "b": -0.1, "c": 1e300, "d": 3.141592653589793, "e": 1e-7},
    "nested": {"items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}], "tags": {"x": ["y", []]}},
    "long": {"text": "x" * 300, "list": list(range(20)), **{f"field{i}": i for i in range(20)}},
}
BINARY = {"data": b"\x00\xff\xfe", "empty": b""}
HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "": "zażółć"}

Lines = Iterable[dict[str, Any]]


def tagged(value: Any) -> Any:
    """A plain value as JSON can say it."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        return {name: tagged(each) for name, each in value.items()}
    if isinstance(value, list):
        return [tagged(each) for each in value]
    if type(value) is int and abs(value) > EXACT:
        return {"$int": str(value)}
    return value


def untagged(value: Any) -> Any:
    """The plain value."""
    if isinstance(value, list):
        return [untagged(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"$int"}:
        return int(value["$int"])
    if set(value) == {"$bytes"}:
        return bytes.fromhex(value["$bytes"])
    return {name: untagged(each) for name, each in value.items()}


def key_of(kind: str, text: str) -> Any:
    """The key of a line in the vectors. Python has a type for each of these."""
    makers: dict[str, Callable[[str], Any]] = {
        "text": str,
        "integer": int,
        "uuid": UUID,
        "bytes": bytes.fromhex,
        "float": float,
        "boolean": lambda _: True,
        "null": lambda _: None,
    }
    return makers[kind](text)


def routing() -> Lines:
    """Keys, their bytes, their hash and their partition; and what is no key."""
    keys = [("text", each) for each in TEXTS]
    keys += [("integer", str(each)) for each in INTEGERS]
    keys += [("uuid", each) for each in (*UUIDS, UUIDS[0].upper())]
    keys += [("bytes", each.hex()) for each in BYTES]
    for kind, text in keys:
        data = key_bytes(key_of(kind, text))
        number = xxhash.xxh64_intdigest(data)
        partitions = {str(count): number % count for count in COUNTS}
        yield {
            "key": {"type": kind, "value": text},
            "bytes": data.hex(),
            "hash": str(number),
            "partition": partitions,
        }
    for kind, text in REFUSED:
        yield {"key": {"type": kind, "value": text}, "refused": True}


def _line(name: str, values: Any, entry: list[bytes], **more: Any) -> dict[str, Any]:
    return {"name": name, "values": tagged(values), "entry": [each.hex() for each in entry], **more}


def entries() -> Lines:
    """Entries and what a client reads in them; with `canonical`, it writes the same bytes, too."""
    msgpack, json_ = MsgpackSerializer(), JSONSerializer()
    for name, values in RECORDS.items():
        packed, text = msgpack.dumps(values), json_.dumps(values)
        yield _line(f"msgpack, {name}", values, [b"msgpack", packed], canonical=True)
        yield _line(f"json, {name}", values, [b"json", text], canonical=name != "floats")
    packed, text = msgpack.dumps(RECORDS["long"]), json_.dumps(RECORDS["long"])
    long = RECORDS["long"]
    yield _line("msgpack, bytes", BINARY, [b"msgpack", msgpack.dumps(BINARY)], canonical=True)
    for tag, data in ((b"msgpack", packed), (b"json", text)):
        name = tag.decode()
        framed = lz4.frame.compress(data)
        yield _line(f"{name}, lz4 frame", long, [tag + b"+lz4", framed])
        unsized = lz4.frame.compress(data, store_size=False, content_checksum=True)
        yield _line(f"{name}, lz4 frame without its size", long, [tag + b"+lz4", unsized])
        yield _line(f"{name}, gzip", long, [tag + b"+gzip", Gzip().compress(data)])
    flat = [b"msgpack", msgpack.dumps(RECORDS["flat"])]
    headers = [
        part for pair in HEADERS.items() for part in (b"@" + pair[0].encode(), pair[1].encode())
    ]
    yield _line("headers", RECORDS["flat"], [*flat, *headers], headers=HEADERS)
    more = [*flat, b"other", b"is no header"]
    yield _line(
        "a further field that is no header is left alone", RECORDS["flat"], more, headers={}
    )
    pairs = [b"order_id", b"1", b"note", "zażółć".encode()]
    primitive = {"order_id": "1", "note": "zażółć"}
    yield _line("fields as text", primitive, [b"fields", b"1", *pairs], primitive=True)


def refused_entries() -> Lines:
    """Entries that must be refused, and not read as something else."""
    packed = MsgpackSerializer().dumps(RECORDS["flat"])
    long = MsgpackSerializer().dumps(RECORDS["long"])
    framed, gzip = lz4.frame.compress(long), Gzip().compress(long)
    cases: dict[str, list[bytes]] = {
        "nothing": [],
        "half a field": [b"msgpack"],
        "an unknown serializer": [b"cbor", packed],
        "an unknown compressor": [b"msgpack+zstd", packed],
        "a primitive form that is not known": [b"fields", b"2", b"a", b"1"],
        "msgpack that is cut off": [b"msgpack", packed[:-1]],
        "msgpack with bytes behind its end": [b"msgpack", packed + b"\x00"],
        "msgpack whose text is not UTF-8": [b"msgpack", b"\x81\xa1a\xa1\xff"],
        "json that is cut off": [b"json", b'{"a":1'],
        "json with NaN": [b"json", b'{"a":NaN}'],
        "json with a number that is too large": [b"json", b'{"a":1e999}'],
        "json that is not UTF-8": [b"json", b'{"a":"\xff"}'],
        "an lz4 frame that is cut off": [b"msgpack+lz4", framed[:-1]],
        "an lz4 frame with bytes behind its end": [b"msgpack+lz4", framed + b"\x00"],
        "an lz4 block instead of a frame": [b"msgpack+lz4", framed[19:-4]],
        "gzip that is cut off": [b"msgpack+gzip", gzip[:-1]],
        "gzip with a wrong checksum": [b"msgpack+gzip", gzip[:-8] + bytes(4) + gzip[-4:]],
    }
    for name, entry in cases.items():
        yield {"name": name, "entry": [each.hex() for each in entry], "refused": True}


FILES: dict[str, Callable[[], Lines]] = {
    "routing.jsonl": routing,
    "entries.jsonl": lambda: [*entries(), *refused_entries()],
}


def text_of(lines: Lines) -> str:
    """JSON lines."""
    return "".join(json.dumps(each, ensure_ascii=True) + "\n" for each in lines)
