"""Cases of calls and replies, as ``lua/conformance/README.md`` describes them.

A definition states every reply: nothing here is recorded from a server. The runners then compare
these statements with what a server does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.conformance.keys import KEYS


class Int(NamedTuple):
    """An integer in a reply that the server decides, such as ``Int("<epoch>")``."""

    hole: str


class Status(NamedTuple):
    """A status in a reply, such as OK."""

    text: str


#: A word of a command. Bytes have no placeholders, text may.
Word = str | int | bytes
#: A value of a reply.
Value = str | int | bytes | Int | Status | None


def escaped(value: str | bytes) -> str:
    """Printable ASCII as it is; every other byte, and what has a meaning of its own, as ``%xx``."""
    special = b'%"\\' + (b"<" if isinstance(value, bytes) else b"")
    data = value.encode() if isinstance(value, str) else value
    return "".join(
        chr(each) if 32 <= each < 127 and each not in special else f"%{each:02x}" for each in data
    )


def word(value: Word) -> str:
    """A word of a command, as a line has it."""
    return str(value) if isinstance(value, int) else escaped(value)


def leaf(value: Value) -> str:
    """A value of a reply, as a line has it: its type, then its text."""
    match value:
        case None:
            return "_"
        case int():
            return f":{value}"
        case Int(hole):
            return f":{hole}"
        case Status(text):
            return f"+{text}"
        case _:
            return f"${escaped(value)}"


@dataclass(frozen=True)
class Call:
    """One call of a script in a case, with what is expected of it."""

    script: str
    keys: Sequence[str]
    args: Sequence[Word]
    reply: Sequence[str]
    repeats: bool


class Case:
    """Steps on an empty server. Each is one line of a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[list[str]] = [["case", name]]
        self.calls: list[Call] = []
        self._digests = 0

    def note(self, text: str) -> None:
        """What the next steps show, for people."""
        self.lines.append(["note", text])

    def redis(self, *command: Word, gives: Sequence[Value]) -> None:
        """A command of Redis and its reply."""
        self.lines += [["redis", *map(word, command)], ["reply", *map(leaf, gives)]]

    def call(
        self, script: str, *args: Word, gives: Sequence[Value], keys: Sequence[str] | None = None
    ) -> None:
        """A call of a script and its reply. Without `keys`, those of the partition of `KEYS`."""
        self._call(script, args, keys, [leaf(each) for each in gives])

    def refused(
        self, error: str, script: str, *args: Word, keys: Sequence[str] | None = None
    ) -> None:
        """A call that is refused with this error, and writes nothing."""
        with_digest = self._unchanged()
        next(with_digest)
        self._call(script, args, keys, [f"-{escaped(error)}"])
        next(with_digest)

    def malformed(
        self,
        script: str,
        args: Sequence[Word],
        faults: Sequence[tuple[int, Word, str]],
        keys: Sequence[str] | None = None,
    ) -> None:
        """The call is refused if the argument of this number (from 1) has this value. The text is
        what follows ``BADARG field=``."""
        for number, value, field in faults:
            changed = [*args[: number - 1], value, *args[number:]]
            self.refused(f"BADARG field={field}", script, *changed, keys=keys)

    def again(
        self, script: str, *args: Word, gives: Sequence[Value], keys: Sequence[str] | None = None
    ) -> None:
        """The same call once more, because its reply was lost: it writes nothing."""
        with_digest = self._unchanged()
        next(with_digest)
        self._call(script, args, keys, [leaf(each) for each in gives], repeats=True)
        next(with_digest)

    def reads(
        self, script: str, *args: Word, gives: Sequence[Value], keys: Sequence[str] | None = None
    ) -> None:
        """A call that writes nothing."""
        with_digest = self._unchanged()
        next(with_digest)
        self.call(script, *args, gives=gives, keys=keys)
        next(with_digest)

    def unknown(self, script: str, *args: Word) -> None:
        """A call of a script that the server has forgotten."""
        self._call(script, args, None, ["-NOSCRIPT <...>"])

    def load(self, script: str) -> None:
        """Load a script, after SCRIPT FLUSH."""
        self.lines.append(["load", script])

    def wait(self, milliseconds: int) -> None:
        """Let so much time pass, or more."""
        self.lines.append(["wait", str(milliseconds)])

    def rises(self, *values: str) -> None:
        """Each number, or id, is larger than the one before."""
        self.lines.append(["rises", *values])

    def _call(
        self,
        script: str,
        args: Sequence[Word],
        keys: Sequence[str] | None,
        reply: Sequence[str],
        repeats: bool = False,
    ) -> None:
        keys = KEYS[script] if keys is None else keys
        self.calls.append(Call(script, keys, args, reply, repeats))
        self.lines.append(["call", script, str(len(keys)), *keys, *map(word, args)])
        self.lines.append(["reply", *reply])

    def _unchanged(self) -> Iterator[None]:
        """The database is the same before and after."""

        def same() -> list[list[str]]:
            digest = f":<unchanged{self._digests}>"
            return [["call", "conformance/digest", "0"], ["reply", digest]]

        # A row of such calls needs one look between each two.
        if self.lines[-2:] != same():
            self._digests += 1
            self.lines += same()
        yield
        self.lines += same()
        yield

    def text(self) -> str:
        """The lines of the case."""
        return "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in self.lines)
