"""Payloads get smaller, come back, and cannot be made to fill the memory."""

from __future__ import annotations

import contextlib

import lz4.frame
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.errors import DecodeError

BOTH = [LZ4(), Gzip()]
both = pytest.mark.parametrize("compressor", BOTH, ids=lambda each: each.name)


@given(data=st.binary(max_size=2000))
@both
def test_what_was_compressed_comes_back(compressor: Compressor, data: bytes) -> None:
    assert compressor.decompress(compressor.compress(data)) == data


@both
def test_the_same_payload_gives_the_same_bytes(compressor: Compressor) -> None:
    assert compressor.compress(b"x" * 999) == compressor.compress(b"x" * 999)
    assert len(compressor.compress(b"x" * 999)) < 100


def test_gzip_stores_no_time() -> None:
    assert Gzip().compress(b"x")[4:8] == bytes(4)


@pytest.mark.parametrize("kind", [LZ4, Gzip])
def test_a_payload_that_grows_over_the_limit_is_refused(kind: type[LZ4 | Gzip]) -> None:
    limited = kind(max_decompressed=1000)
    assert limited.decompress(limited.compress(b"x" * 1000)) == b"x" * 1000
    with pytest.raises(DecodeError, match="larger than 1000 bytes"):
        limited.decompress(limited.compress(b"x" * 1001))


@both
def test_the_default_has_a_limit(compressor: Compressor) -> None:
    bomb = compressor.compress(bytes(64 * 1024 * 1024 + 1))
    with pytest.raises(DecodeError, match="larger than 67108864 bytes"):
        compressor.decompress(bomb)


@both
@pytest.mark.parametrize("damage", ["empty", "cut off", "more behind", "noise"])
def test_damaged_bytes_are_refused(compressor: Compressor, damage: str) -> None:
    data = compressor.compress(b"the payload" * 9)
    damaged = {"empty": b"", "cut off": data[:-3], "more behind": data + b"x", "noise": b"\xff" * 9}
    with pytest.raises(DecodeError, match=f"not valid {compressor.name}"):
        compressor.decompress(damaged[damage])


@given(data=st.binary(max_size=200))
@both
def test_noise_raises_nothing_but_decode_errors(compressor: Compressor, data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        compressor.decompress(data)


@pytest.mark.parametrize("size", [1, 98, 100, 10**12])
def test_an_lz4_frame_with_a_wrong_size_in_its_header_is_refused(size: int) -> None:
    data = lz4.frame.compress(b"x" * 99)
    header = data[4:6] + size.to_bytes(8, "little")
    checksum = bytes([xxhash.xxh32_intdigest(header) >> 8 & 0xFF])
    with pytest.raises(DecodeError, match="lz4"):
        LZ4().decompress(data[:4] + header + checksum + data[15:])


def test_an_lz4_frame_need_not_say_its_size() -> None:
    assert LZ4().decompress(lz4.frame.compress(b"x" * 99, store_size=False)) == b"x" * 99
