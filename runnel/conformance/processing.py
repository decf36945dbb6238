"""Checks of what workers processed: order, repeats, and what they were allowed to process."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from runnel.conformance.case import Case, Findings, Tenure
from runnel.conformance.contract import Id, id_text, parse_id
from runnel.conformance.history import ENDED, Call, Line

#: Seconds that a worker has to hear of a refusal, on a machine with much to do.
_HEARD = 0.25


def check_processing(case: Case, found: Findings) -> None:
    """Every check of this module."""
    _true(case, found)
    _complete(case, found)
    _order(case, found)
    _finished_before_committed(case, found)
    for (actor, partition), lines in case.lines.items():
        _tenures(case, actor, partition, lines, found)
        _after_refusal(case, actor, partition, lines, found)
    _within_session(case, found)


def _true(case: Case, found: Findings) -> None:
    """What a line says is what the log had."""
    for line in case.history.lines:
        entry = case.history.log.get(line.done.partition, {}).get(line.done.id)
        if entry is None:
            found.add("C6", "a worker names an event that its partition never had", line.shown())
        elif entry.record is not None and entry.record != line.done.record:
            found.add(
                "C5",
                "a worker has decoded another record than the one in the log",
                f"{line.shown()}: {_difference(entry.record, line.done.record)}",
            )


def _difference(stored: dict[str, object], read: dict[str, object]) -> str:
    for name in stored.keys() | read.keys():
        if stored.get(name) != read.get(name):
            is_, was = str(read.get(name))[:60], str(stored.get(name))[:60]
            return f"{name} is {is_!r}, in the log it is {was!r}"
    return "they differ in a type"


def _complete(case: Case, found: Findings) -> None:
    """Every event was processed, if the checkpoint has passed it."""
    done = {(line.done.partition, line.done.id) for line in case.history.lines}
    passed: dict[int, tuple[Id, Call]] = {}
    for partition, call in case.commits():
        if call.ok:
            at = parse_id(call.arg(5))
            passed[partition] = max(passed.get(partition, (at, call)), (at, call), key=_first)
    for partition, ids in case.ids.items():
        for id_ in ids:
            if partition in case.history.stay_parked and case.aside(partition, id_):
                continue
            if partition in passed and id_ <= passed[partition][0] and (partition, id_) not in done:
                found.add(
                    "W17",
                    "LOST: an event was committed and never processed",
                    f"{id_text(id_)} of partition {partition}; the last commit past it: "
                    f"{passed[partition][1].shown()}",
                )


def _first(pair: tuple[Id, Call]) -> Id:
    return pair[0]


def _order(case: Case, found: Findings) -> None:
    """The events of a partition are processed in the order of the log."""
    newest: dict[int, int] = {}
    aside: dict[int, Id] = {}
    seen: set[tuple[int, Id]] = set()
    for line in sorted(case.history.lines, key=lambda each: each.place):
        partition, id_ = line.done.partition, line.done.id
        ids = case.ids.get(partition, [])
        index = bisect_left(ids, id_)
        if (partition, id_) in seen or index >= len(ids) or ids[index] != id_:
            continue
        seen.add((partition, id_))
        if case.aside(partition, id_):
            if id_ < aside.get(partition, id_):
                text = "ORDER: an event of a parked key was processed after a later one"
                found.add("W11", text, f"{line.shown()}, after {id_text(aside[partition])}")
            aside[partition] = max(id_, aside.get(partition, id_))
            continue
        before = newest.get(partition, -1)
        skipped = [each for each in ids[before + 1 : index] if not case.aside(partition, each)]
        if skipped:
            missing = skipped[0]
            found.add(
                "W17",
                "ORDER: an event was processed before an earlier one of its partition",
                f"{line.shown()}, before {id_text(missing)} of partition {partition}",
            )
        newest[partition] = max(before, index)


def _finished_before_committed(case: Case, found: Findings) -> None:
    """A worker commits only events that it has itself finished."""
    finished: dict[tuple[str, int, Id], int] = {}
    for line in case.history.lines:
        finished.setdefault((line.actor, line.done.partition, line.done.id), line.place)
    for partition, call in case.commits():
        if call.error:
            continue
        for id_ in case.between(partition, parse_id(call.arg(4)), parse_id(call.arg(5))):
            place = finished.get((call.actor, partition, id_))
            if case.aside(partition, id_):
                continue
            if place is None or place > call.place:
                when = "no line" if place is None else "its line came later (is stdout flushed?)"
                found.add(
                    "W17",
                    "an event was committed before its handler had finished it",
                    f"{id_text(id_)} of partition {partition}, {when}: {call.shown()}",
                )
                break


def _tenures(case: Case, actor: str, partition: int, lines: list[Line], found: Findings) -> None:
    """Within a tenure, each event once, in order, after the checkpoint of its claim."""
    ids = case.ids.get(partition, [])
    releases = [
        call.place
        for of, call in case.commits()
        if (of, call.actor, call.arg(7)) == (partition, actor, "1")
    ]
    before: Line | None = None
    tenure_before: Tenure | None = None
    for line in lines:
        tenure = case.tenure_at(actor, partition, line.place)
        if tenure is None:
            found.add("W9", "events were processed without a claim", line.shown())
            return
        in_hand = (
            before is not None
            and tenure is not tenure_before
            and not _any_between(releases, before.place, line.place)
            and _follows(ids, before.done.id, line.done.id)
        )
        same = tenure_before is not None and tenure.epoch == tenure_before.epoch
        if tenure.stopped and not in_hand:
            found.add(
                "W11",
                "events of a paused or quarantined partition were processed",
                f"{line.shown()}, after {tenure.claim.shown()}",
            )
        elif tenure.lost >= 0 and not in_hand:
            found.add(
                "W12",
                "events were processed although a loss was not accepted",
                f"{line.shown()}, after {tenure.claim.shown()}",
            )
        elif case.aside(partition, line.done.id):
            continue  # It is processed when it is replayed.
        elif line.done.id <= tenure.checkpoint and not in_hand:
            found.add(
                "W9",
                "a worker did not continue after the checkpoint of its claim",
                f"{line.shown()}, after {tenure.claim.shown()}",
            )
        elif same and before is not None and line.done.id <= before.done.id:
            found.add(
                "W14",
                "REPEAT: a worker processed an event again under the same lease",
                f"{line.shown()}, after {id_text(before.done.id)}",
            )
        before, tenure_before = line, tenure


def _any_between(places: list[int], after: int, before: int) -> bool:
    """Is one of these places, which are in order, between two others?"""
    index = bisect_left(places, after)
    return index < len(places) and places[index] < before


def _follows(ids: list[Id], before: Id, id_: Id) -> bool:
    """Is this the event after that one? It may have been in hand when the tenure ended."""
    index = bisect_left(ids, before)
    return ids[index + 1 : index + 2] == [id_]


def _after_refusal(
    case: Case, actor: str, partition: int, lines: list[Line], found: Findings
) -> None:
    """After a refusal that ends the lease, at most the event in hand is finished."""
    tenures = case.tenures.get((actor, partition), [])
    for of, call in case.commits():
        if of != partition or call.actor != actor or call.answered is None:
            continue
        if call.refused not in ENDED:
            continue
        ended, heard_by = call.answered, (call.answered_at or 0.0) + _HEARD
        claimed = min((each.place for each in tenures if each.place > ended), default=None)
        later = [
            line
            for line in lines
            if line.place > ended
            and line.after > heard_by
            and (claimed is None or line.place < claimed)
        ]
        if len(later) > 1:
            found.add(
                "W20",
                "ZOMBIE: a worker processed events after a refusal that ended its lease",
                f"{call.shown()}; then {later[1].shown()}",
                timed=True,
            )


def _within_session(case: Case, found: Findings) -> None:
    """No event starts when the session may have ended. The second line after that time is of an
    event that started then."""
    for (actor, _), lines in case.lines.items():
        ends = _session_ends(case, actor)
        for before, line in pairwise(lines):
            known = [end for answered, end in ends if answered <= line.before]
            if known and before.after > known[-1] and before.after < line.before:
                found.add(
                    "W7",
                    "ZOMBIE: an event was started after the session had ended",
                    f"{line.shown()}, {before.after - known[-1]:.3f} s or more after that",
                )
                break


def _session_ends(case: Case, actor: str) -> list[tuple[float, float]]:
    """For each answered `sync` of an actor: when it was answered, and when the session ends."""
    first: dict[tuple[str, str], float] = {}
    found = []
    for call in case.history.of("sync"):
        if call.actor == actor:
            sent = first.setdefault((call.arg(6), call.arg(7)), call.at)
            if call.ok and call.answered_at is not None and int(call.ok[0]) == int(call.arg(7)):
                found.append((call.answered_at, sent + int(call.ok[2]) / 1000))
    return sorted(found)
