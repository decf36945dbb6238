"""Runs the cases of ``lua/conformance`` against a server, with nothing but a socket."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from tests.conformance.cases import escaped

_HOLE = re.compile(r"<([^>]+)>")
_NUMBER = re.compile(r"\d+(-\d+)?")


class Wrong(AssertionError):
    """A reply is not what the case says."""


class Connection:
    """A connection that speaks RESP2 and flattens replies."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=30)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, *command: str | bytes) -> list[str]:
        """Run a command. Returns the values of its reply, as the lines of the files have them."""
        words = [each.encode() if isinstance(each, str) else each for each in command]
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%b\r\n" % (len(each), each) for each in words]
        self._socket.sendall(b"".join(parts))
        return list(self._read())

    def _read(self) -> Iterator[str]:
        line = self._file.readline()
        kind, text = chr(line[0]), line[1:-2]
        if kind == "*":
            for _ in range(int(text)):
                yield from self._read()
        elif kind == "$" and text != b"-1":
            yield "$" + escaped(self._file.read(int(text) + 2)[:-2])
        else:
            yield "_" if kind == "$" else kind + escaped(text)


def later(value: str, number: int) -> str:
    """A number that is larger by so much; of an id, the second part is."""
    first, dash, second = value.partition("-")
    return f"{first}-{int(second) + number}" if dash else str(int(first) + number)


def filled(text: str, names: dict[str, str]) -> str:
    """The text with the values of the names that have one."""

    def value_of(match: re.Match[str]) -> str:
        name, _, number = match[1].partition("+")
        return later(names[name], int(number or 0)) if name in names else match[0]

    return _HOLE.sub(value_of, text)


def matches(expected: str, value: str, names: dict[str, str]) -> bool:
    """Is this value of a reply as expected? A name without a value gets it from here."""
    expected = filled(expected, names)
    hole = _HOLE.search(expected)
    if not hole:
        return expected == value
    before, after = expected[: hole.start()], expected[hole.end() :]
    inside = value[len(before) : len(value) - len(after)]
    if value != before + inside + after:
        return False
    low, dots, high = hole[1].partition("..")
    if dots:
        return not low or (
            bool(re.fullmatch(r"-?\d+", inside)) and int(low) <= int(inside) <= int(high)
        )
    if not _NUMBER.fullmatch(inside):
        return False
    names[hole[1]] = inside
    return True


def larger(value: str, than: str) -> bool:
    """Is this number, or id, larger than that one?"""
    return [int(each) for each in value.split("-")] > [int(each) for each in than.split("-")]


def unescaped(text: str) -> bytes:
    """The bytes of a word."""
    return re.sub(rb"%([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())


class Runner:
    """Runs cases with the scripts of a folder."""

    def __init__(self, connection: Connection, scripts: Path) -> None:
        self._connection, self._scripts = connection, scripts
        self._loaded: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._reply: list[str] = []

    def run(self, steps: Iterable[list[str]]) -> None:
        """Run one case. Raises Wrong at the first step that goes otherwise."""
        self._connection.send("FLUSHALL")
        self._loaded, self._names, notes = {}, {}, ""
        for number, (kind, *words) in enumerate(steps):
            if kind == "note":
                notes = words[0]
            elif kind == "reply":
                self._compare(words, f"step {number}, {notes}")
            elif kind == "rises":
                values = [filled(each, self._names) for each in words]
                if not all(larger(b, a) for a, b in pairwise(values)):
                    raise Wrong(f"step {number}, {notes}: {values} do not rise")
            elif kind == "wait":
                time.sleep(int(words[0]) / 1000)
            elif kind == "load":
                self._load(words[0])
            elif kind == "redis":
                self._send(words)
            elif kind == "call":
                digest = self._loaded.get(words[0]) or self._load(words[0])
                self._send(["EVALSHA", digest, *words[1:]])
            elif kind != "case":
                raise Wrong(f"step {number}: there is no step {kind}")

    def _load(self, script: str) -> str:
        source = (self._scripts / f"{script}.lua").read_bytes()
        (digest,) = self._connection.send("SCRIPT", "LOAD", source)
        self._loaded[script] = digest[1:]
        return digest[1:]

    def _send(self, words: list[str]) -> None:
        self._reply = self._connection.send(
            *(unescaped(filled(each, self._names)) for each in words)
        )

    def _compare(self, expected: list[str], where: str) -> None:
        same = len(expected) == len(self._reply)
        if not same or not all(
            matches(a, b, self._names) for a, b in zip(expected, self._reply, strict=True)
        ):
            wanted = [filled(each, self._names) for each in expected]
            raise Wrong(f"{where}: the reply is {self._reply}, not {wanted}")


def cases_of(path: Path) -> dict[str, list[list[str]]]:
    """The cases of a file by their names."""
    found: dict[str, list[list[str]]] = {}
    for line in path.read_text().splitlines():
        step: list[str] = json.loads(line)
        if step[0] == "case":
            assert step[1] not in found, f"there are two cases {step[1]}"
            found[step[1]] = []
        found[step[-1] if step[0] == "case" else next(reversed(found))].append(step)
    return found
