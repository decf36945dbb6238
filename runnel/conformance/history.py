"""What happened in a trial, in one order: calls on the wire, lines of commands, what the kit did.

Each thing gets the next place in that order when the kit sees it. Before the kit sees a request it
reads what the commands have written, so a line that was written before the request was sent has an
earlier place.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import hiredis

from runnel.conformance.contract import APP, STREAM, Done, Id, Record, Sent, id_text

#: Refusals of an owner's call that end its lease.
ENDED = ("FENCED", "CONFLICT", "MISSING", "UNREGISTERED")
#: How a script of the protocol begins.
_HEADER = re.compile(rb"#!lua[^\n]*\n-- ([a-z_]+) -- ")
#: Stream and number in the key of a partition.
_PARTITION = re.compile(rf"\{{{APP}:([^:{{}}]+):(\d+)\}}".encode())


@dataclass(slots=True, eq=False)
class Call:
    """One call of a script, as a command under test sent it. `script` is the name of its file, or
    empty if it is none of `lua/`: then `unknown` is what it calls itself, if that was seen."""

    actor: str
    script: str
    keys: list[bytes]
    args: list[bytes]
    place: int
    at: float
    #: The reply of the server, an error too; None if the kit never saw one.
    reply: Any = None
    #: Place and time at which the reply was passed on; None if it never was.
    answered: int | None = None
    answered_at: float | None = None
    #: The proxy kept it from the server.
    swallowed: bool = False
    #: The SHA-1 of the script.
    digest: str = ""
    unknown: str = ""
    #: The number of the connection on which it came.
    connection: int = 0

    @property
    def same_bytes(self) -> tuple[str, tuple[bytes, ...], tuple[bytes, ...]]:
        """What a repeat has in common with it: everything."""
        return self.script, tuple(self.keys), tuple(self.args)

    @property
    def error(self) -> str:
        """The text of the error that the server replied with, or empty."""
        return str(self.reply) if isinstance(self.reply, hiredis.ReplyError) else ""

    @property
    def refused(self) -> str:
        """The first word of the error, or empty."""
        return self.error.partition(" ")[0]

    @property
    def ok(self) -> list[Any]:
        """The values of a reply that is no error; none without one."""
        if self.reply is None or self.error:
            return []
        return self.reply if isinstance(self.reply, list) else [self.reply]

    def arg(self, number: int) -> str:
        """ARGV[number] as text, or empty."""
        return self.args[number - 1].decode(errors="replace") if number <= len(self.args) else ""

    @property
    def reported(self) -> dict[tuple[int, int], int]:
        """What a `sync` reports as released: partition and grant -> the grant seen there, or 0."""
        try:
            held, *values = [int(each) for each in self.args[9:]] if self.script == "sync" else [0]
        except ValueError:
            return {}  # It is malformed.
        triples = zip(*(values[2 * held + n :: 3] for n in range(3)), strict=False)
        return {(partition, grant): seen for partition, grant, seen in triples}

    @property
    def name(self) -> str:
        """The name of the script, for people."""
        return self.script or f"{self.unknown or 'a script'} with the SHA-1 {self.digest}"

    def shown(self) -> str:
        """The call and its reply in one line."""
        args = " ".join(_shown(each) for each in self.args[:14])
        more = f" … ({len(self.args)} arguments)" if len(self.args) > 14 else ""
        reply = self.error or " ".join(_shown(each) for each in self.ok) or "no reply"
        lost = "" if self.answered is not None else ", which the client never got"
        if self.swallowed:
            reply, lost = "it never arrived", ""
        return f"{self.actor}: {self.name}{where(self.keys)} {args}{more} → {reply}{lost}"


def where(keys: list[bytes]) -> str:
    """Which partition a script with these keys works on, such as `` (partition 2)``, or nothing."""
    found = _PARTITION.search(keys[0]) if keys else None
    if found is None:
        return ""
    stream = found[1].decode()
    return f" (partition {int(found[2])}{'' if stream == STREAM else f' of {stream}'})"


def _shown(value: Any) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = "".join(each if each.isprintable() else "·" for each in text)
    return (text if len(text) <= 40 else f"{text[:37]}…") or "''"


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A worker's line. It was written between `after` and `before`, in seconds of the monotonic
    clock."""

    actor: str
    done: Done
    place: int
    after: float
    before: float

    def shown(self) -> str:
        """The line, shortened."""
        event = f"{id_text(self.done.id)} of partition {self.done.partition}"
        if self.done.failed:
            return f"{self.actor}: failed at {event}"
        record = self.done.record
        which = f"key {record.get('key')!r} number {record.get('number')}"
        return f"{self.actor}: processed {event}, {which}"


class Note(NamedTuple):
    """Something else that happened: a fault, what the kit wrote, the start or end of a process."""

    place: int
    at: float
    text: str


class Entry(NamedTuple):
    """An event of a log: the fields and values in turn, and the record, if it can be read."""

    id: Id
    fields: list[bytes]
    record: Record | None
    problem: str

    @property
    def codec(self) -> str:
        """The name of its first field, such as ``json+lz4``."""
        return b"".join(self.fields[:1]).decode(errors="replace")


@dataclass
class History:
    """Everything that the kit has seen in one trial."""

    calls: list[Call] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    #: Lines of handlers that failed.
    failed: list[Line] = field(default_factory=list)
    #: Partition -> key whose events are set aside, because one of them is parked.
    parked: dict[int, str] = field(default_factory=dict)
    #: Partitions whose parked events stay so, which was said: they are not lost.
    stay_parked: set[int] = field(default_factory=set)
    #: Partition -> the event that is postponed.
    postponed: dict[int, Id] = field(default_factory=dict)
    sent: list[tuple[str, Sent]] = field(default_factory=list)
    #: Actor and what is wrong with a line that it wrote.
    bad_lines: list[tuple[str, str]] = field(default_factory=list)
    #: Partition -> every event that its log ever had.
    log: dict[int, dict[Id, Entry]] = field(default_factory=dict)
    #: Partition -> ids that the kit removed or passed itself, before a worker could process them.
    removed: dict[int, set[Id]] = field(default_factory=dict)
    #: SHA-1 of a script that is none of `lua/` -> the name in its header, or empty.
    unknown: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    places: Iterator[int] = field(default_factory=itertools.count)
    connections: Iterator[int] = field(default_factory=itertools.count)
    #: When it began, in seconds of the monotonic clock.
    began: float = field(default_factory=time.monotonic)

    def learn(self, digest: str, source: bytes) -> None:
        """A script was loaded that is none of `lua/`. It may have been called before."""
        header = _HEADER.match(source)
        name = self.unknown[digest] = header[1].decode() if header else ""
        for call in self.calls:
            if call.digest == digest:
                call.unknown = name

    def note(self, text: str) -> None:
        """Something else happened now."""
        self.notes.append(Note(next(self.places), time.monotonic(), text))

    def text(self) -> str:
        """Everything in order, one thing in each line: its place, the seconds since the start, what
        it was, and how long a call took to be answered."""
        things = list(self.notes)
        things += [Note(each.place, each.before, each.shown()) for each in self.lines + self.failed]
        for call in self.calls:
            took = "" if call.answered_at is None else f" ({call.answered_at - call.at:.3f} s)"
            things.append(Note(call.place, call.at, f"{call.shown()}{took}"))
        return "".join(
            f"{place:6} {at - self.began:9.3f} {text}\n" for place, at, text in sorted(things)
        )

    def of(self, *scripts: str) -> list[Call]:
        """The calls of these scripts, in order."""
        return [each for each in self.calls if each.script in scripts]
