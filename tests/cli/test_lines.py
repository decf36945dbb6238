"""Lines are read as they arrive, with their numbers, from plain and compressed content."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from runnel.cli import lines
from runnel.cli.lines import Line, blocks, open_lines
from runnel.errors import ConfigError, InputCutOff

TEXT = b"\xef\xbb\xbffirst\n\n  \nfourth\r\n" + b"x" * 40 + b"\n\nthe last"
LINES = [(1, b"first"), (4, b"fourth\r"), (5, b"x" * 40), (7, b"the last")]


def read(folder: Path, content: bytes, found: list[Line]) -> None:
    """Add the lines of a file to those that were found."""
    file = folder / "orders"
    file.write_bytes(content)
    with open_lines(str(file)) as source:
        for each in blocks(source, "orders"):
            found += each


@pytest.mark.parametrize("block", [1, 2, 7, 64, lines.BLOCK])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_lines_are_whole_and_numbered_however_the_content_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: int, packed: bool
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    found: list[Line] = []
    read(tmp_path, gzip.compress(TEXT) if packed else TEXT, found)
    assert found == LINES


def test_lines_of_a_slow_pipe_are_given_as_they_arrive() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb", buffering=0) as pipe:
        arriving = blocks(source, "-")
        pipe.write(b"one\ntwo\nthr")
        assert next(arriving) == [(1, b"one"), (2, b"two")]
        pipe.write(b"ee\n")
        assert next(arriving) == [(3, b"three")]
        pipe.write(b"four")
        pipe.close()
        assert list(arriving) == [[(4, b"four")]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b"one\ntwo\nthree")[:-9], "orders is cut off"),
        (gzip.compress(b"one\ntwo\nthree")[:-4] + bytes(4), "orders cannot be read to its end"),
    ],
    ids=["cut off", "wrong length"],
)
def test_whole_lines_before_damaged_content_are_given_and_the_incomplete_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, says: str
) -> None:
    monkeypatch.setattr(lines, "BLOCK", 5)
    found: list[Line] = []
    with pytest.raises(InputCutOff, match=says):
        read(tmp_path, content, found)
    assert found == [(1, b"one"), (2, b"two")]


def test_a_file_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent: No such file"):
        open_lines(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="Is a directory"):
        open_lines(str(tmp_path))
