"""Makes the report of `runnel inspect` fit on a terminal: what is wrong comes first, and what finds
no room is counted. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from runnel.cli import first_steps, stream_problems, tables, view
from runnel.cli.names import Names
from runnel.cli.view import STATES
from runnel.operations.figures import OVERDUE_AFTER, outbox_waits
from runnel.operations.inspection import STALLED_AFTER

Json = dict[str, Any]

#: Lines of the problems of one processor, if several have some; lines that are left for tables.
_FEW, _TABLES = 5, 8
_ALL = "--all shows them"
#: How the line of a command begins.
_COMMAND = "    "
#: What is said of a command stands behind this, so that a shell takes the whole line.
_COMMENT = "   # "


@dataclass(frozen=True)
class Section:
    """A table: its heads, its first rows, and what these are, to count those that find no room.
    There are `number` in all. The first `wrong` of them have a fault; None if rows of this kind
    have none."""

    head: str
    rows: list[str]
    noun: str
    number: int
    wrong: int | None = None

    def lines(self, room: int) -> list[str]:
        """The rows that fit into the room, with an empty line before, and a line that counts the
        others; none if there is not even room for one row."""
        if self.number + 2 <= room:
            return ["", self.head, *self.rows]
        shown = room - 3
        if shown < 1:
            return []
        return ["", self.head, *self.rows[:shown], f"… and {self.counted(shown)}: {_ALL}"]

    def counted(self, shown: int = 0) -> str:
        """How many rows there are beyond those that are shown."""
        left = self.number - shown
        text = f"{left} {self.noun}{'' if left == 1 else 's'}"
        if self.wrong is None:
            return text
        wrong = max(0, self.wrong - shown)
        return f"{text}, {wrong} with a fault" if wrong else f"{text} without a fault"


def lines(seen: Json, url: str, names: Names, width: int, height: int) -> list[str]:
    """The lines of a report, as many as fit. None is wider, but for commands, which are copied."""
    found = _headline(view.headline(seen, url), width)
    for line in first_steps.lines(seen, names):
        found += [line] if line.startswith("  ") else _headline(line, width)
    wrong = sorted(
        (each for each in seen["processors"] if view.problems(each, seen, names)), key=badness
    )
    room = height - len(found)
    streams = _streams(seen, names, width, room)
    room -= _height(streams, width)
    found += _problems(wrong, seen, names, width, max(_FEW + 2, room - _TABLES)) + streams
    left, counted = height - _height(found, width) - 2, list[str]()
    for section in _sections(seen, height):
        shown = section.lines(left)
        found += [_cut(line, width) for line in shown]
        left -= len(shown)
        if not shown:
            counted.append(section.counted())
    if counted:
        found += ["", _cut(f"{' · '.join(counted)}: {_ALL}", width)]
    return found


def is_wrong(row: Json) -> bool:
    """Does this partition need somebody's attention?"""
    return bool(
        row["state"] in ("unassigned", "quarantined", "paused")
        or row["failing"]
        or row["error"]
        or row["waits_for"]
        or outbox_waits(row)
        or row["parked"]
        or row["postponed"]
        or row["lost"]
        or row["delayed_lost"]
        or (row["overdue_ms"] or 0) > OVERDUE_AFTER
        or (row["current_event_ms"] or 0) > STALLED_AFTER
    )


def _sections(seen: Json, height: int) -> list[Section]:
    """The tables, the most important first. Only as many rows are made as could be shown."""
    processors = sorted(seen["processors"], key=badness)
    bad = sum(1 for each in processors if each["state"] != "ok")
    mixed = any(each["mixed"] for each in processors)
    kept = sum(len(each["tables"]) for each in processors)
    pairs = [(each, row) for each in processors for row in each["partitions"]]
    pairs.sort(key=lambda pair: not is_wrong(pair[1]))
    faults = sum(is_wrong(row) for _, row in pairs)
    members, streams = seen["members"], seen["streams"]
    first = {
        **seen,
        "processors": processors[:height],
        "members": members[:height],
        "streams": streams[:height],
    }
    partitions = (tables.partitions_of_several(pairs[:height]), "partition", len(pairs), faults)
    found: list[tuple[list[str], str, int, int | None]] = [
        (tables.processors({**first, "members": members}), "processor", len(processors), bad),
        *([partitions] if faults else []),
        (tables.members(first, mixed), "member", len(members), None),
        (tables.streams(first), "stream", len(streams), None),
        (tables.kept(first) if kept else [], "table", kept, None),
        *([partitions] if not faults else []),
    ]
    return [
        Section(each[0], each[1:], noun, number, wrong)
        for each, noun, number, wrong in found
        if each[1:]
    ]


def _problems(wrong: Sequence[Json], seen: Json, names: Names, width: int, room: int) -> list[str]:
    """The problems of processors, the worst first, as many as fit."""
    found: list[str] = []
    for number, processor in enumerate(wrong):
        others = len(wrong) - number - 1
        left = room - _height(found, width) - (2 if others else 0)
        share = max(_FEW, left // (others + 1)) if others else left
        block = _block(view.problems(processor, seen, names), width, min(share, left))
        if (number and _height(block, width) > left) or left < _FEW:
            more = len(wrong) - number
            noun = "processor" if more == 1 else "processors"
            return [*found, "", f"… and {more} more {noun} with a fault: {_ALL}"]
        found += block
    return found


def _streams(seen: Json, names: Names, width: int, room: int) -> list[str]:
    """What is wrong with streams and with the clock, in at most a third of the room, but the first
    of it always."""
    blocks: list[list[str]] = []
    for line in stream_problems.problems(seen, names):
        if not line:
            blocks.append([])
        blocks[-1] += _fitted(line, width)
    found: list[str] = []
    for number, block in enumerate(blocks):
        if number and _height([*found, *block], width) > room // 3:
            more = len(blocks) - number
            return [*found, "", f"… and {more} more like these: {_ALL}"]
        found += block
    return found


def _block(problems: list[str], width: int, room: int) -> list[str]:
    """The problems of one processor: as many lines as fit. The first of what is wrong and the first
    command come before all others."""
    blank, head, *rest = (line for each in problems for line in _fitted(each, width))
    if _height([blank, head, *rest], width) <= room:
        return [blank, head, *rest]
    said = [at for at, line in enumerate(rest) if not line.startswith(_COMMAND)]
    commands = [at for at, line in enumerate(rest) if line.startswith(_COMMAND)]
    kept, used = set[int](), 3
    for at in [*said[:1], *commands, *said[1:]]:
        if used + _height([rest[at]], width) <= room:
            kept.add(at)
            used += _height([rest[at]], width)
    left = len(rest) - len(kept)
    more = f"  … and {left} more line{'' if left == 1 else 's'}: {_ALL}"
    return [blank, head, *(rest[at] for at in sorted(kept)), more]


def _headline(text: str, width: int) -> list[str]:
    """The headline, over several lines if it is too long."""
    found = [""]
    for part in text.split(" · "):
        joined = f"{found[-1]} · {part}" if found[-1] else part
        if len(click.unstyle(joined)) <= width or not found[-1]:
            found[-1] = joined
        else:
            found.append(part)
    return found


def _fitted(line: str, width: int) -> list[str]:
    """A line that is not wider; or a command, which is never cut, and its comment below it."""
    command, hash_sign, comment = line.partition(_COMMENT)
    if line.startswith(_COMMAND) and hash_sign and len(click.unstyle(line)) > width:
        return [command, _cut(f"{_COMMAND}  # {comment}", width)]
    return [_cut(line, width)]


def _cut(line: str, width: int) -> str:
    """A line that is not wider, unless it is a command."""
    plain = click.unstyle(line)
    if len(plain) <= width:
        return line
    if plain.startswith(f"{_COMMAND}see "):
        return _fewer_sections(plain, width)
    if plain.startswith(_COMMAND) and not plain.lstrip().startswith("#"):
        return line
    return f"{plain[: width - 1]}…" if plain == line else f"{_styled(line, width - 1)}…"


def _fewer_sections(line: str, width: int) -> str:
    """A line with sections of the runbooks, with as many as fit, and with the first one always."""
    first, *others = line.split(", ")
    for each in others:
        if len(first) + 2 + len(each) > width:
            break
        first += f", {each}"
    return first


def _styled(line: str, width: int) -> str:
    """The first characters of a line with colours, and the end of the last colour."""
    kept, at, shown = "", 0, 0
    while at < len(line) and shown < width:
        if line[at] == "\x1b":
            end = line.index("m", at) + 1
            kept, at = kept + line[at:end], end
        else:
            kept, at, shown = kept + line[at], at + 1, shown + 1
    return f"{kept}\x1b[0m"


def _height(lines: Iterable[str], width: int) -> int:
    """The rows of a terminal that lines take."""
    return sum(max(1, -(-len(click.unstyle(line)) // width)) for line in lines)


def badness(processor: Json) -> tuple[int, str, str]:
    """Sorts the worst first."""
    return -STATES.index(processor["state"]), processor["app"], processor["name"]
