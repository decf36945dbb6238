"""The history of a run, read from the files of its workers and producers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

#: The two parts of an id, which compare as ids do.
Id = tuple[int, int]


class Effect(NamedTuple):
    """One event that a handler has finished. Times are seconds of the monotonic clock."""

    processor: str
    partition: int
    key: str
    number: int
    id: Id
    epoch: int
    start: float
    end: float
    worker: str


class Sent(NamedTuple):
    """One event whose append the producer saw acknowledged."""

    key: str
    number: int
    partition: int
    id: Id


class Later(NamedTuple):
    """One event that was sent for later, as the producer saw acknowledged. `due` is in ms."""

    key: str
    number: int
    partition: int
    due: int


class Look(NamedTuple):
    """A processor's state on a partition at some time."""

    processor: str
    partition: int
    epoch: int
    checkpoint: Id
    processed: int
    lost: int
    #: Entries ever added to the log.
    added: int
    #: The lag of the consumer group in XINFO GROUPS; -1 if the server does not know it.
    lag: int


@dataclass
class History:
    """Everything that is known of a run."""

    processors: tuple[str, ...]
    effects: list[Effect] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    #: Number of events whose send failed, so that they may or may not have arrived.
    unknown: int = 0
    looks: list[Look] = field(default_factory=list)
    #: Those of them that read what `book` emits.
    second: tuple[str, ...] = ()
    #: The one of them that reads what is sent for later, if there is one.
    reminder: str = ""
    later: list[Later] = field(default_factory=list)
    #: The one of them that has an event later if it fails, and each which number may fail there.
    setback: str = ""
    setback_every: int = 0
    #: Those of them that have several events of a partition at the same time -> how many.
    together: dict[str, int] = field(default_factory=dict)
    #: Table -> key -> value, at the end.
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Partition -> the ids in its log at the end.
    logs: dict[int, list[Id]] = field(default_factory=dict)

    def steps_aside(self, effect: Effect) -> bool:
        """May the event have come out of order, because it had failed before?"""
        return effect.processor == self.setback and effect.number % self.setback_every == 0


def parse_id(text: str) -> Id:
    ms, _, sequence = text.partition("-")
    return int(ms), int(sequence or 0)


def read_effects(path: Path) -> Iterable[Effect]:
    """The effects of one worker; skips a line that a kill cut short."""
    for line in path.read_text().splitlines(keepends=True):
        words = line.split()
        if line.endswith("\n") and len(words) == 8:
            yield Effect(
                words[0],
                int(words[1]),
                words[2],
                int(words[3]),
                parse_id(words[4]),
                int(words[5]),
                float(words[6]),
                float(words[7]),
                path.stem,
            )


def read_history(folder: Path, processors: tuple[str, ...], looks: list[Look]) -> History:
    """Read the files in `folder`: ``*.effects`` of workers, ``*.sent`` and ``*.later`` of
    producers."""
    history = History(processors, looks=looks)
    for path in sorted(folder.glob("*.effects")):
        history.effects.extend(read_effects(path))
    for path in sorted(folder.glob("*.sent")):
        for line in path.read_text().splitlines():
            key, number, partition, id_ = line.split()
            if partition == "-":
                history.unknown += 1
            else:
                history.sent.append(Sent(key, int(number), int(partition), parse_id(id_)))
    for path in sorted(folder.glob("*.later")):
        for line in path.read_text().splitlines(keepends=True):
            words = line.split()
            if line.endswith("\n") and len(words) == 4:
                history.later.append(Later(words[0], *map(int, words[1:])))
    return history
