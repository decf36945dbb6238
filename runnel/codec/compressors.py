"""How payloads get smaller. The name of a compressor travels with every entry that used it."""

from __future__ import annotations

import zlib
from typing import Protocol, runtime_checkable

from runnel.errors import DecodeError

#: No payload may grow above this when it is decompressed, in bytes: a few kilobytes that somebody
#: put into a stream must not take a worker's memory.
MAX_DECOMPRESSED = 64 * 1024 * 1024

#: zlib's word for its largest window, with gzip's header and checksum.
_GZIP = 31


@runtime_checkable
class Compressor(Protocol):
    """Makes bytes smaller and restores them.

    `name` starts with a lower-case letter and goes on with these, digits, ``-`` and ``_``.
    `decompress` may raise anything on bad input.
    """

    name: str

    def compress(self, data: bytes) -> bytes: ...

    def decompress(self, data: bytes) -> bytes: ...


class LZ4:
    """LZ4 frames: fast, and readable in every language (the block format is not).

    `max_decompressed` is the largest payload it restores, in bytes.
    """

    name = "lz4"

    def __init__(self, max_decompressed: int = MAX_DECOMPRESSED) -> None:
        self.max_decompressed = max_decompressed

    def compress(self, data: bytes) -> bytes:
        import lz4.frame  # Here, as most streams are not compressed.

        return bytes(lz4.frame.compress(data))

    def decompress(self, data: bytes) -> bytes:
        """Raises DecodeError if `data` is no whole frame, or one that grows too large."""
        import lz4.frame

        decompressor = lz4.frame.LZ4FrameDecompressor()
        try:
            # It makes room for the most that it may give: a frame mostly says how much that is, and
            # if it says too little it is not whole.
            told = lz4.frame.get_frame_info(data)["content_size"] or self.max_decompressed
            most = min(told, self.max_decompressed) + 1
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
        return zlib.compress(data, level=9, wbits=_GZIP)  # No time in it: same payload, same bytes.

    def decompress(self, data: bytes) -> bytes:
        """Raises DecodeError if `data` is no whole gzip member, or one that grows too large."""
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
        raise DecodeError(f"the payload is not valid {name}: it is cut off or has more behind it")
    return plain
