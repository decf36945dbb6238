"""Checks of what producers sent: their calls, and what is in the logs."""

from __future__ import annotations

from collections import defaultdict

from runnel.conformance.case import Case, Findings
from runnel.conformance.contract import ORDERS, Id, Record, id_text
from runnel.conformance.history import Call
from runnel.conformance.sender import partition_of

_SHAPE = {"key": str, "number": int, "work": int, "text": str}


def check_sending(case: Case, found: Findings, faultless: bool = False) -> None:
    """Every check of this module. `faultless` is whether nothing was done to the commands."""
    _given_up(case, found, faultless)
    _logs(case, found)
    _acknowledged(case, found)
    _appends(case, found)
    _overdue(case, found)


def _given_up(case: Case, found: Findings, faultless: bool) -> None:
    """A producer gives up only what could not be sent for long."""
    failed = [(actor, sent) for actor, sent in case.history.sent if sent.id is None]
    if failed and (faultless or len(failed) == len(case.history.sent)):
        for actor, sent in failed:
            said = f"{actor}: number {sent.number} of {sent.key!r}: {sent.error}"
            found.add("contract", "records were given up without need", said)


def _logs(case: Case, found: Findings) -> None:
    """Each event once, readable, in its partition, those of a key in order."""
    places: dict[tuple[str, int], tuple[int, Id]] = {}
    newest: dict[str, int] = defaultdict(int)
    for partition, log in case.history.log.items():
        for id_, entry in sorted(log.items()):
            where = f"{id_text(id_)} of partition {partition}"
            record = entry.record
            if record is None or _shape(record) != _SHAPE:
                shown = b" ".join(entry.fields)[:80].decode(errors="replace")
                problem = entry.problem or f"it is not the record that was to be sent: {record}"
                found.add(
                    "P10",
                    "an entry of the log is not in a form that others read",
                    f"{where} begins with {shown!r}: {problem}",
                )
                continue
            key, number = record["key"], record["number"]
            if partition_of(key) != partition:
                text = f"{where} has the key {key!r}, whose partition is {partition_of(key)}"
                found.add("P2", "an event is in the wrong partition", text)
            if (key, number) in places:
                other, first = places[key, number]
                found.add(
                    "C3",
                    "TWICE: a record was added to the log a second time",
                    f"{where} is number {number} of {key!r}, "
                    f"as is {id_text(first)} of partition {other}",
                )
            elif number < newest[key]:
                text = f"{where} is number {number} of {key!r}, after number {newest[key]}"
                found.add("P3", "ORDER: events of a key are not in the order of sending", text)
            places.setdefault((key, number), (partition, id_))
            newest[key] = max(newest[key], number)


def _shape(record: Record) -> dict[str, type]:
    return {name: type(each) for name, each in record.items() if name not in ORDERS}


def _acknowledged(case: Case, found: Findings) -> None:
    for actor, sent in case.history.sent:
        if sent.id is None:
            continue
        log = case.history.log.get(partition_of(sent.key), {})
        entry = log.get(sent.id)
        if entry is None:
            found.add(
                "P3",
                "LOST: an event that was acknowledged is not in its partition",
                f"{actor}: number {sent.number} of {sent.key!r} as {id_text(sent.id)}",
            )
        elif entry.record and (sent.key, sent.number) != _names(entry.record):
            found.add(
                "C6",
                "an acknowledged id is that of another event",
                f"{actor}: {id_text(sent.id)} for number {sent.number} of {sent.key!r}",
            )


def _names(record: Record) -> tuple[object, object]:
    return record.get("key"), record.get("number")


def _appends(case: Case, found: Findings) -> None:
    """Numbers from 1 without gaps, one in flight, repeats to the byte, declared before."""
    last: dict[tuple[str, bytes, str], Call] = {}
    lost: dict[tuple[str, bytes], Call] = {}
    #: The last number of which a sending was not answered.
    unsure: dict[tuple[str, bytes, str], int] = {}
    declared: dict[str, int] = {}
    for call in case.history.of("declare"):
        if call.answered is not None and not call.error:
            declared.setdefault(call.actor, call.answered)
    for call in case.history.of("append"):
        if len(call.args) < 8:
            continue
        if declared.get(call.actor, call.place + 1) > call.place:
            found.add("P1", "append before the stream was declared", call.shown())
            declared[call.actor] = 0
        which = (call.actor, call.keys[0], call.arg(6))
        before, number = last.get(which), int(call.arg(7))
        refused = before is not None and before.refused == "FULL" and unsure.get(which) != number
        _numbered(before, call, number, refused, found)
        unknown = lost.pop(which[:2], None)
        if (
            unknown is not None
            and unknown.args[7:] == call.args[7:]
            and (unknown.same_bytes != call.same_bytes)
        ):
            found.add(
                "C3",
                "an append whose reply was lost was sent again as a new one",
                f"{unknown.shown()}; then {call.shown()}",
            )
        if call.answered is None:
            lost[which[:2]], unsure[which] = call, number
        last[which] = call


def _overdue(case: Case, found: Findings) -> None:
    """After OVERDUE comes `promote`, and then the same append."""
    overdue: dict[tuple[str, bytes], Call] = {}
    for call in case.history.of("append", "promote"):
        which = (call.actor, call.keys[0])
        refused = overdue.pop(which, None)
        if refused is not None and call.script != "promote":
            text = "OVERDUE was not followed by promote"
            found.add("P8", text, f"{refused.shown()}; then {call.shown()}")
        if call.refused == "OVERDUE":
            overdue[which] = call
    for actor, sent in case.history.sent:
        if sent.id is None and "OVERDUE" in sent.error:
            text = f"{actor}: number {sent.number} of {sent.key!r}: {sent.error}"
            found.add("P8", "a record was given up because of OVERDUE", text)
    for refused in overdue.values():
        found.add("P8", "OVERDUE was not followed by promote", f"{refused.shown()}; then nothing")


def _numbered(before: Call | None, call: Call, number: int, refused: bool, found: Findings) -> None:
    """`refused`: each sending of the append before was answered, the last one with FULL. Then other
    entries may be sent under its number."""
    expected = 1 if before is None else int(before.arg(7)) + 1
    again = before is not None and number == int(before.arg(7))
    if before is not None and again:
        if before.same_bytes != call.same_bytes and not refused:
            found.add(
                "C3",
                "an append was repeated with other bytes under the same number",
                f"{before.shown()}; then {call.shown()}",
            )
    elif number != expected:
        found.add("P3", "appends are not numbered 1, 2, 3 for each partition", call.shown())
    elif before is not None and (before.answered is None or before.answered > call.place):
        found.add(
            "P3",
            "an append was sent while another one was in flight",
            f"{before.shown()}; then {call.shown()}",
        )
