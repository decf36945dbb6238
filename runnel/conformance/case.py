"""What the checks look at: the history of one trial, put in the order of its partitions."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from runnel.conformance.actors import Actor
from runnel.conformance.contract import STATES, Id, parse_id
from runnel.conformance.history import Call, History, Line
from runnel.conformance.rules import Finding

#: Lines of evidence of one finding.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Tenure:
    """A claim that was answered: what an actor may process from then on."""

    claim: Call
    partition: int
    place: int
    epoch: int
    checkpoint: Id
    unclean: int
    stopped: bool
    lost: int
    #: The event that failed last, how often, and how many workers died with it.
    event: str
    attempts: int
    deaths: int

    @classmethod
    def of(cls, claim: Call) -> Tenure | None:
        """The tenure that a call of `claim` begins or repeats; None if it began nothing."""
        reply = claim.ok
        if not reply or claim.answered is None:
            return None
        return cls(
            claim,
            STATES[claim.keys[2]],
            claim.answered,
            int(reply[0]),
            parse_id(reply[1].decode()),
            int(reply[5]),
            bool(int(reply[6]) or int(reply[7])),
            int(reply[8]),
            reply[4].decode(),
            int(reply[3]),
            int(reply[12]),
        )


@dataclass
class Case:
    """One trial. Calls of other keys than the trial's are not in it."""

    history: History
    actors: list[Actor]
    session: float
    #: Partition -> the ids of its log, in order, without those that the kit removed.
    ids: dict[int, list[Id]] = field(init=False)
    #: Actor and partition -> its tenures, and its lines, in order.
    tenures: dict[tuple[str, int], list[Tenure]] = field(init=False)
    lines: dict[tuple[str, int], list[Line]] = field(init=False)

    def __post_init__(self) -> None:
        removed = self.history.removed
        self.ids = {
            partition: sorted(set(log) - removed.get(partition, set()))
            for partition, log in self.history.log.items()
        }
        self.tenures, self.lines = defaultdict(list), defaultdict(list)
        answered = [each for each in self.history.of("claim") if each.answered is not None]
        for call in sorted(answered, key=lambda each: each.answered or 0):
            tenure = Tenure.of(call) if call.keys[2] in STATES else None
            if tenure is not None:
                self.tenures[call.actor, tenure.partition].append(tenure)
        for line in self.history.lines:
            self.lines[line.actor, line.done.partition].append(line)

    def between(self, partition: int, after: Id, last: Id) -> list[Id]:
        """The events of a partition behind one id, up to another."""
        ids = self.ids.get(partition, [])
        return ids[bisect_right(ids, after) : bisect_right(ids, last)]

    def aside(self, partition: int, id_: Id) -> bool:
        """Is this an event that is postponed, or of a key that is parked?"""
        if self.history.postponed.get(partition) == id_:
            return True
        entry = self.history.log.get(partition, {}).get(id_)
        key = self.history.parked.get(partition)
        return key is not None and entry is not None and (entry.record or {}).get("key") == key

    def tenure_at(self, actor: str, partition: int, place: int) -> Tenure | None:
        """The tenure that the actor knew of at a place."""
        found = None
        for each in self.tenures.get((actor, partition), []):
            if each.place < place:
                found = each
        return found

    def commits(self) -> Iterator[tuple[int, Call]]:
        """Partition and call of each `commit` and `transact` of the processor."""
        for call in self.history.of("commit", "transact"):
            if len(call.keys) > 2 and call.keys[2] in STATES and len(call.args) >= 7:
                yield STATES[call.keys[2]], call


class Findings:
    """Collects what checks find, the same thing once, with its first pieces of evidence."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, bool], list[str]] = defaultdict(list)

    def add(self, rule: str, text: str, *evidence: str, timed: bool = False) -> None:
        """Note that a rule was broken once more."""
        self._found[rule, text, timed].append("; ".join(evidence))

    def all(self) -> list[Finding]:
        """One finding for each thing that is wrong."""
        found = []
        for (rule, text, timed), evidence in self._found.items():
            more = len(evidence) - _SHOWN
            shown = [each for each in evidence[:_SHOWN] if each]
            if more > 0:
                shown.append(f"and {more} more times")
            found.append(Finding(rule, text, tuple(shown), timed))
        return found
