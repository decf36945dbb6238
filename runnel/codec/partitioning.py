"""Turns a partition key into bytes and hashes them, the same in every language and on every host.

The type of a key decides its bytes, a named hash turns these into a number, and the number modulo
the partition count is the partition. Nothing depends on how Python prints a value.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol
from uuid import UUID

import xxhash

from runnel.errors import PartitionKeyError


class Hasher(Protocol):
    """A named hash of bytes. Every client of a stream must use the hash of its contract."""

    @property
    def name(self) -> str: ...

    def __call__(self, data: bytes) -> int: ...


class XXH64:
    """xxHash, 64 bits, seed 0: the default."""

    name = "xxh64"

    __call__ = staticmethod(xxhash.xxh64_intdigest)


def key_bytes(key: Any) -> bytes:
    """The bytes of a partition key.

    Text as UTF-8, integers in decimal, UUIDs in lower case with dashes, bytes as they are, enum
    members as their value. Raises PartitionKeyError for other types: floats and booleans, for
    instance, have no form that all languages share.
    """
    try:
        if type(key) is int:  # Most keys are integers or text: these two checks come first.
            return b"%d" % key
        if type(key) is str:
            return key.encode()
        if isinstance(key, Enum):  # Before text and integers: a StrEnum or IntEnum is one, too.
            return key_bytes(key.value)
        if isinstance(key, str):
            return str.encode(key)
        if isinstance(key, int) and not isinstance(key, bool):
            return b"%d" % key
    except ValueError as error:  # Half a surrogate pair, or thousands of digits.
        raise PartitionKeyError(f"the partition key is not valid text: {error}") from error
    if isinstance(key, bytes):
        return bytes(key)
    if isinstance(key, UUID):
        return str(key).encode()
    kind = "None" if key is None else f"a value of type {type(key).__name__}"
    raise PartitionKeyError(
        f"{kind} cannot be a partition key: use text, an integer, a UUID, bytes or an enum of these"
    )
