"""Checks of what workers do when an event fails."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from runnel.conformance.case import Case, Findings, Tenure
from runnel.conformance.contract import BACKOFF, ORDERS, RETRIES, STATES, Id, id_text, parse_id
from runnel.conformance.history import Call, Line

#: Events that are handed out carefully after a worker died, and tenures from which starts are
#: recorded.
_SUSPECTS, _RECORD_AFTER = 500, 3
#: Of a pause, what must pass at least: clocks differ a little.
_ENOUGH = 0.9


def check_failing(case: Case, found: Findings) -> None:
    """Every check of this module."""
    _readable(case, found)
    _numbers(case, found)
    _given_up(case, found)
    _tries(case, found)
    _starts(case, found)


def _attempts(case: Case, *kinds: str) -> Iterator[tuple[int, Id, Call]]:
    """Partition, event and call of each `attempt` of these kinds."""
    for call in case.history.of("attempt"):
        if call.arg(3) in kinds and call.keys[0] in STATES:
            yield STATES[call.keys[0]], parse_id(call.arg(4)), call


def _readable(case: Case, found: Findings) -> None:
    """An event fails because it is told to, or is given up because workers died with it. If another
    one does, its worker could not read it."""
    for partition, id_, call in _attempts(case, "failure", "quarantine"):
        tenure = case.tenure_at(call.actor, partition, call.place)
        if tenure is not None and tenure.deaths > 1 and _claimed(tenure, id_) > RETRIES:
            continue
        entry = case.history.log.get(partition, {}).get(id_)
        record = entry and entry.record
        if entry is None or record is None or any(map(record.get, ORDERS)):
            continue
        found.add(
            "W29",
            "a worker failed at an event that others read",
            f"{call.actor}: {id_text(id_)} of partition {partition}, an entry with the codec "
            f"{entry.codec}: {call.arg(6)}: {call.arg(7)[:200]}",
        )


def _numbers(case: Case, found: Findings) -> None:
    """Each report of a failure has the next number, also behind that of the owner before."""
    last: dict[tuple[str, int, int, Id], Call] = {}
    for partition, id_, call in _attempts(case, "failure", "quarantine"):
        tenure = case.tenure_at(call.actor, partition, call.place)
        if tenure is None or call.error:
            continue
        which = (call.actor, partition, tenure.place, id_)
        before = last.get(which)
        known = int(before.arg(5)) if before else _claimed(tenure, id_)
        allowed = {known + 1, known} if call.arg(3) == "quarantine" else {known + 1}
        if tenure.deaths > 1 and known > RETRIES:
            allowed.add(known)  # It was not tried again.
        if before is not None and before.same_bytes == call.same_bytes:
            allowed = {known}
        if int(call.arg(5)) not in allowed:
            found.add(
                "W21",
                "a failure was reported with a wrong number",
                f"{(before or tenure.claim).shown()}; then {call.shown()}: it is {known + 1}",
            )
        last[which] = call


def _given_up(case: Case, found: Findings) -> None:
    """An event that is told to fail is tried as often as other workers would try it."""
    for partition, id_, call in _attempts(case, "quarantine"):
        entry = case.history.log.get(partition, {}).get(id_)
        ordered = entry is not None and any(map((entry.record or {}).get, ORDERS))
        if ordered and int(call.arg(5)) <= RETRIES:
            found.add(
                "W24",
                f"an event was given up before it had failed {RETRIES + 1} times, as it does "
                "where other workers hold it",
                call.shown(),
            )


def _claimed(tenure: Tenure, id_: Id) -> int:
    """How often an event had failed when a tenure began."""
    return tenure.attempts if tenure.event and parse_id(tenure.event) == id_ else 0


def _tries(case: Case, found: Findings) -> None:
    """After a failure: a report, a pause, and the next try, as often as there are retries."""
    lines: dict[tuple[str, int], list[Line]] = defaultdict(list)
    for line in sorted([*case.history.lines, *case.history.failed], key=lambda each: each.place):
        lines[line.actor, line.done.partition].append(line)
    counts: dict[tuple[str, int, int, Id], int] = defaultdict(int)
    for (actor, partition), several in lines.items():
        for line in several:
            tenure = case.tenure_at(actor, partition, line.place)
            if tenure is None or not line.done.failed:
                continue
            which = (actor, partition, tenure.epoch, line.done.id)
            counts[which] += 1
            if counts[which] > max(1, RETRIES + 1 - _claimed(tenure, line.done.id)):
                text = f"{line.shown()}, {counts[which]} times under one lease"
                found.add("W21", "an event was tried after its last retry", text)
        for line, following in pairwise(several):
            if line.done.failed and _same_lease(case, line, following):
                _after_failure(case, line, following, found)


def _same_lease(case: Case, *lines: Line) -> bool:
    tenures = [case.tenure_at(each.actor, each.done.partition, each.place) for each in lines]
    return len({each and each.epoch for each in tenures}) == 1


def _after_failure(case: Case, line: Line, following: Line, found: Findings) -> None:
    """What comes between a failure and the next line of the same partition and worker."""
    partition, id_ = line.done.partition, line.done.id
    reports = [
        call
        for of, event, call in _attempts(case, "failure", "quarantine")
        if (of, event, call.actor) == (partition, id_, line.actor)
        and line.place < call.place < following.place
    ]
    told = f"{line.shown()}; then {following.shown()}"
    if not any(each.answered is not None and each.answered < following.place for each in reports):
        found.add("W21", "a failure was not reported before the next try", told)
        return
    if following.done.id != id_:
        return
    pause = BACKOFF * 2 ** (max(1, int(reports[-1].arg(5))) - 1)
    if following.before - line.after < _ENOUGH * pause:
        gap = following.before - line.after
        text = f"{told}, at most {gap:.2f} s later; the pause is {pause:g} s"
        found.add("W21", "an event was tried again without the pause", text)


def _starts(case: Case, found: Findings) -> None:
    """After deaths, the start of each event is recorded before the handler gets it."""
    started: dict[tuple[str, int, Id], list[tuple[int, Call]]] = defaultdict(list)
    for partition, id_, call in _attempts(case, "start"):
        if call.answered is not None and not call.error:
            started[call.actor, partition, id_].append((call.answered, call))
    handled: dict[tuple[str, int, int], int] = defaultdict(int)
    for line in sorted([*case.history.lines, *case.history.failed], key=lambda each: each.place):
        partition, id_ = line.done.partition, line.done.id
        tenure = case.tenure_at(line.actor, partition, line.place)
        if tenure is None or not _is_suspect(case, tenure, line, handled):
            continue
        claimed = _claimed(tenure, id_)
        if tenure.deaths > 1 and claimed > RETRIES and parse_id(tenure.event) == id_:
            text = f"{tenure.claim.shown()}; then {line.shown()}"
            found.add("W22", "an event that has killed its workers was tried once more", text)
        starts = started[line.actor, partition, id_]
        at = bisect_right(starts, line.place, key=lambda each: each[0])
        if not at or starts[at - 1][0] < tenure.place:
            text = f"{tenure.claim.shown()}; then {line.shown()}"
            found.add("W23", "an event was processed without a record of its start", text)
        elif tenure.place == _last(case, tenure, line) and int(starts[0][1].arg(5)) != claimed:
            text = f"{tenure.claim.shown()}; then {starts[0][1].shown()}: it is {claimed}"
            found.add("W22", "a start was recorded with a wrong number of failures", text)


def _last(case: Case, tenure: Tenure, line: Line) -> int:
    """The place of the tenure in which an actor recorded the first start of an event."""
    first = next(
        call
        for partition, id_, call in _attempts(case, "start")
        if (partition, id_, call.actor) == (line.done.partition, line.done.id, line.actor)
    )
    known = case.tenure_at(line.actor, line.done.partition, first.place)
    return known.place if known else tenure.place


def _is_suspect(
    case: Case, tenure: Tenure, line: Line, handled: dict[tuple[str, int, int], int]
) -> bool:
    """Must the start of this event be recorded?"""
    if tenure.unclean < _RECORD_AFTER and not tenure.deaths:
        return False
    which = (line.actor, line.done.partition, tenure.place)
    if handled[which] >= _SUSPECTS:
        return False
    handled[which] += not line.done.failed
    # Behind the event that was suspected, all is as usual.
    return not (tenure.deaths and tenure.event and line.done.id > parse_id(tenure.event))
