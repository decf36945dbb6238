"""Reads lines as they arrive, from a file, a file compressed by gzip, or stdin."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from typing import Any

from runnel.errors import ConfigError, InputCutOff

#: Bytes of one read, about a thousand lines.
BLOCK = 1 << 17
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"

Line = tuple[int, bytes]


def open_lines(file: str) -> io.BufferedReader:
    """A file, or stdin for ``-``. Raises ConfigError if it cannot be opened."""
    try:
        opened: Any = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error
    return opened if isinstance(opened, io.BufferedReader) else io.BufferedReader(opened)


def blocks(source: io.BufferedReader, file: str) -> Iterator[list[Line]]:
    """The lines with their numbers, without empty lines, in lists.

    Content that gzip compressed is decompressed, whatever the file's name. From a pipe, a list has
    the lines that have arrived, so that a slow pipe delays nothing. Raises InputCutOff if the
    content breaks off; an incomplete line is left out.
    """
    number, rest = 0, bytearray()
    for block in _read(source, file):
        at = block.rfind(b"\n") + 1
        rest += block[:at] if at else block
        if not at:
            continue
        lines = bytes(rest).split(b"\n")[:-1]
        rest = bytearray(block[at:])
        yield list(_numbered(lines, number))
        number += len(lines)
    yield list(_numbered([bytes(rest)], number))


def _read(source: io.BufferedReader, file: str) -> Iterator[bytes]:
    try:
        packed = source.peek(2)[:2] == _GZIP
        stream: Any = gzip.GzipFile(fileobj=source) if packed else source
        while block := stream.read1(BLOCK):
            yield block
    except EOFError as error:
        raise InputCutOff(f"{file} is cut off: its compressed data ends too early") from error
    except (OSError, zlib.error) as error:
        raise InputCutOff(f"{file} cannot be read to its end: {error}") from error


def _numbered(lines: list[bytes], before: int) -> Iterator[Line]:
    for number, line in enumerate(lines, before + 1):
        text = line.removeprefix(_BOM) if number == 1 else line
        if text.strip():
            yield number, text
