"""Compresses payloads. Every entry names the compressor that was used for it."""

from __future__ import annotations

import zlib
from typing import Protocol, runtime_checkable

from runnel.errors import DecodeError

#: Bytes of the largest payload that is decompressed: a few kilobytes in a stream must not fill the
#: memory of a worker.
MAX_DECOMPRESSED = 64 * 1024 * 1024

#: zlib's code for its largest window, with gzip's header and checksum.
_GZIP = 31


@runtime_checkable
class Compressor(Protocol):
    """Compresses bytes and restores them.

    `name` starts with a lower-case letter; lower-case letters, digits, ``-`` and ``_`` may follow.
    `decompress` may raise any exception on bad input.
    """

    name: str

    def compress(self, data: bytes) -> bytes:
        """The compressed bytes."""
        ...

    def decompress(self, data: bytes) -> bytes:
        """What was compressed."""
        ...


class LZ4:
    """LZ4 frames: fast. Unlike LZ4 blocks, frames can be read in every language.

    `max_decompressed` is the largest payload it restores, in bytes.
    """

    name = "lz4"

    def __init__(self, max_decompressed: int = MAX_DECOMPRESSED) -> None:
        self.max_decompressed = max_decompressed

    def compress(self, data: bytes) -> bytes:
        """The compressed bytes."""
        import lz4.frame  # Imported here, as most streams are not compressed.

        return bytes(lz4.frame.compress(data))

    def decompress(self, data: bytes) -> bytes:
        """Raises DecodeError if `data` is not one frame, or its content is too large."""
        import lz4.frame

        decompressor = lz4.frame.LZ4FrameDecompressor()
        try:
            # It allocates `max_length` bytes. Most frames have their size in their header; a frame
            # with a larger content than that does not reach its end.
            size = lz4.frame.get_frame_info(data)["content_size"] or self.max_decompressed
            most = min(size, self.max_decompressed) + 1
            plain = bytes(decompressor.decompress(data, max_length=most))
        except RuntimeError as error:
            raise DecodeError(f"the payload is not valid lz4: {error}") from error
        whole = decompressor.eof and not decompressor.unused_data
        return _checked(self.name, plain, whole, self.max_decompressed)


class Gzip:
    """gzip: smaller than LZ4 and slower.

    `max_decompressed` is the largest payload it restores, in bytes.
    """

    name = "gzip"

    def __init__(self, max_decompressed: int = MAX_DECOMPRESSED) -> None:
        self.max_decompressed = max_decompressed

    def compress(self, data: bytes) -> bytes:
        """The compressed bytes."""
        return zlib.compress(
            data, level=9, wbits=_GZIP
        )  # Without a time: same payload, same bytes.

    def decompress(self, data: bytes) -> bytes:
        """Raises DecodeError if `data` is not one gzip member, or its content is too large."""
        decompressor = zlib.decompressobj(wbits=_GZIP)
        try:
            plain = decompressor.decompress(data, self.max_decompressed + 1)
        except zlib.error as error:
            raise DecodeError(f"the payload is not valid gzip: {error}") from error
        whole = decompressor.eof and not decompressor.unused_data
        return _checked(self.name, plain, whole, self.max_decompressed)


def _checked(name: str, plain: bytes, whole: bool, limit: int) -> bytes:
    if len(plain) > limit:
        raise DecodeError(f"the {name} payload is larger than {limit} bytes when decompressed")
    if not whole:
        raise DecodeError(
            f"the payload is not valid {name}: it is cut off or has bytes behind its end"
        )
    return plain
