"""How payloads get smaller. The name of a compressor travels with every entry that used it."""

from __future__ import annotations

import gzip
import zlib
from typing import Protocol, runtime_checkable

import lz4.frame

from runnel.errors import DecodeError

#: No payload may grow above this when it is decompressed, in bytes.
MAX_DECOMPRESSED = 64 * 1024 * 1024


@runtime_checkable
class Compressor(Protocol):
    """Makes bytes smaller and restores them. `decompress` may raise anything on bad input."""

    name: str

    def compress(self, data: bytes) -> bytes: ...

    def decompress(self, data: bytes) -> bytes: ...


class LZ4:
    """LZ4 frames: fast, and readable in every language (the block format is not)."""

    name = "lz4"

    def compress(self, data: bytes) -> bytes:
        return bytes(lz4.frame.compress(data))

    def decompress(self, data: bytes) -> bytes:
        decompressor = lz4.frame.LZ4FrameDecompressor()
        plain = bytes(decompressor.decompress(data, max_length=MAX_DECOMPRESSED))
        if not decompressor.eof:
            raise DecodeError(f"lz4 payload is cut off or over {MAX_DECOMPRESSED} bytes")
        return plain


class Gzip:
    """gzip: smaller than LZ4 and slower."""

    name = "gzip"

    def compress(self, data: bytes) -> bytes:
        return gzip.compress(data, mtime=0)

    def decompress(self, data: bytes) -> bytes:
        decompressor = zlib.decompressobj(wbits=31)
        plain = decompressor.decompress(data, MAX_DECOMPRESSED)
        if not decompressor.eof:
            raise DecodeError(f"gzip payload is cut off or over {MAX_DECOMPRESSED} bytes")
        return plain
