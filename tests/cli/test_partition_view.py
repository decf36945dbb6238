"""One partition of a processor, for people."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from runnel.cli import partition_view
from runnel.cli.names import Names
from tests.cli.reports import AT, ERROR, partition, report, with_dead_letters

NAMES = Names("example", "example:app")
FAILED = {
    "id": "1795435471200-0",
    "failed": True,
    "gone": False,
    "at": "2026-11-23T12:04:31.200Z",
    "key": "42",
    "headers": {"trace": "abc"},
    "record": {"order_id": 42},
}
PARKED = {
    "key": "42",
    "events": 3,
    "replaying": False,
    "event": "1-0",
    "at_ms": 1,
    "attempts": 2,
    "error": "ValueError: no price",
}


def shown(row: dict[str, Any], state: str = "degraded", width: int = 80, **detail: Any) -> str:
    """The report on one partition, without colours."""
    seen = report(state, partition(0), row)
    seen["processors"][0]["dead_letters"] = detail.pop("letters", None)
    lists: dict[str, Any] = {"parked": [], "postponed": [], "dead_letters": []}
    empty = {"event": None, "stalled": False, "traceback": "", "history": [], **lists}
    seen["partition"] = {"id": row["id"], **empty, **detail}
    return click.unstyle("\n".join(partition_view.lines(seen, "redis://h:6379", NAMES, width)))


@pytest.mark.parametrize(
    ("row", "state", "detail", "says", "command"),
    [
        ({"lag_events": 0, "lag_ms": 0}, "ok", {}, "owned: everything is processed", ""),
        ({}, "ok", {}, "owned: it is processed; 1204 events behind the checkpoint", ""),
        ({"lag_events": None}, "ok", {}, "? events behind", ""),
        (
            {"state": "moving"},
            "ok",
            {},
            "moving: billing-worker-5d9c7b9f4-abcde gives it to another worker",
            "",
        ),
        (
            {"state": "quarantined", "error": ERROR},
            "degraded",
            {},
            "quarantined: an event failed after all its retries; it waits, to keep its order",
            "runnel processor resume example:billing --partition 7   # --skip",
        ),
        (
            {"state": "quarantined", "error": {**ERROR, "event": AT}},
            "degraded",
            {},
            "quarantined: its handler fails before its first event",
            "runnel processor resume example:billing --partition 7",
        ),
        (
            {"state": "paused"},
            "degraded",
            {},
            "paused: an operator paused it",
            "runnel processor resume example:billing --partition 7",
        ),
        (
            {"state": "unassigned", "owner": None},
            "degraded",
            {},
            "unassigned: no live worker holds it",
            "see the workers' logs",
        ),
        (
            {"state": "unassigned", "owner": None},
            "down",
            {},
            "down: no worker runs this processor",
            "runnel worker example:app",
        ),
        (
            {"state": "unassigned", "owner": None, "checkpoint": None},
            "down",
            {},
            "unassigned: it is not registered: no worker has run it yet",
            "runnel worker example:app",
        ),
        (
            {"waits_for": {"stream": "alerts", "reason": "of mail", "since_ms": 9}},
            "degraded",
            {},
            "waiting: its commit finds no room in alerts",
            "runnel inspect example:app   # who does not read that stream",
        ),
        (
            {"current_event_ms": 75_000},
            "stalled",
            {"stalled": True},
            "stalled: billing-worker-5d9c7b9f4-abcde has had one event for 1m15s",
            "kill 41",
        ),
        (
            {"failing": True, "attempts": 2, "error": ERROR},
            "degraded",
            {},
            "failing: its event has failed and is tried again",
            "has failed 2 times",
        ),
        (
            {"failing": True, "unclean_tenures": 2},
            "degraded",
            {},
            "failing: its workers die one after the other at its next event",
            "see the end of their logs",
        ),
        (
            {"parked": 3, "parked_keys": 1, "lag_events": 0},
            "degraded",
            {"parked": [PARKED]},
            "owned: everything is processed but for what is set aside",
            "runnel dead replay example:billing --partition 7",
        ),
    ],
)
def test_the_state_in_words_and_what_to_type_next(
    row: dict[str, Any], state: str, detail: dict[str, Any], says: str, command: str
) -> None:
    output = shown(partition(7, **row), state, **detail)
    summary, _, facts = output.partition("\n\n")
    assert says in " ".join(summary.split())
    assert command in " ".join(summary.split()) or command in summary
    assert "owner         " in facts
    # The other partition of the processor is not spoken of.
    assert "partition 0" not in output


def test_the_other_partitions_of_a_stalled_processor_are_not_stalled() -> None:
    output = shown(partition(7, lag_events=0), "stalled")
    assert output.startswith("shop/billing partition 7 is owned: everything is processed\n\n")


def test_the_event_its_error_and_its_owner() -> None:
    row = partition(7, state="quarantined", error=ERROR, attempts=3, lost=2, in_hand=4)
    row["finished_ahead"] = 1
    output = shown(row, event=FAILED)
    assert "attempts      3\n" in output
    assert "last error    ValueError: no price, " in output
    assert (
        "failed event  1795435471200-0, sent 2026-11-23T12:04:31.200Z, key 42\n"
        "              trace=abc\n"
        '              {"order_id": 42}\n'
        "              runnel show example:app 7 1795435471200-0 --stream orders\n"
    ) in output
    assert (
        "owner         billing-worker-5d9c7b9f4-abcde at node-7:41, python 1.0.0;\n"
        "              heartbeat 1s ago, session ends in 9s\n"
    ) in output
    assert "processed     40213, 2 LOST\nin hand       4, of these 1 finished\n" in output
    assert output.endswith("valkey 9.1.2 at redis://h:6379 · 12:04:59Z")


def test_an_event_that_is_gone_unreadable_or_raw() -> None:
    row = partition(7, error=ERROR)
    gone = shown(row, event={"id": "5-0", "failed": True, "gone": True})
    assert "failed event  5-0 is not in the log any more\n" in gone
    unreadable = {**FAILED, "unreadable": "amount: not a number", "fields": {"json": {"a": 1}}}
    del unreadable["record"]
    output = shown(row, event={**unreadable, "failed": False, "raw": [["json", '{"a": 1}\\xff']]})
    assert "next event    1795435471200-0, sent" in output
    assert "it cannot be decoded: amount: not a number\n" in output
    assert '{"json": {"a": 1}}\n' in output
    assert 'raw           json = {"a": 1}\\xff\n' in output


@pytest.mark.parametrize("width", [80, 132, 40])
def test_no_line_is_wider_than_the_terminal_but_for_commands(width: int) -> None:
    error = {**ERROR, "message": "it is too large: " + "x" * 3000 + "\x1b[2J"}
    big = {**FAILED, "record": {"blob": "y" * 100_000}, "key": "k" * 300}
    letter = {"event": "1-0", "at": "now", "attempts": 1, "error": "E" * 500, "record": {}}
    output = shown(
        partition(7, state="quarantined", error=error, attempts=9, parked=1, postponed=1),
        width=width,
        event={**big, "raw": [["msgpack", "z" * 5000]]},
        parked=[{**PARKED, "key": "q" * 400}],
        postponed=[{**PARKED, "due_in_ms": 4000}],
        dead_letters=[letter],
    )
    assert "\x1b" not in output
    assert "100012 characters in all" in output
    all_lines = output.splitlines()[:-1]  # But for the one that names the server.
    assert len(all_lines) < 90
    copied = ("runnel ", "see docs/")
    wide = [e for e in all_lines if len(e) > width and not any(word in e for word in copied)]
    assert not wide


def test_a_record_is_wrapped_between_its_values() -> None:
    record = {f"cents_{n}": 10**n for n in range(18)}
    row = partition(7, error=ERROR)
    for width in (100, 107, 113, 120):
        output = shown(row, width=width, event={**FAILED, "record": record})
        kept = output.partition("trace=abc\n")[2].partition("runnel show")[0]
        assert json.loads(" ".join(kept.split())) == record
        assert all(line.rstrip()[-1] in ":,}" for line in kept.splitlines()[:-1])


def test_an_event_that_is_processed_is_not_the_next_one() -> None:
    event = {**FAILED, "failed": False}
    assert "next event" not in shown(partition(7, lag_events=0, lag_ms=0), "ok", event=event)
    assert "next event" in shown(partition(7, lag_events=None), "ok", event=event)


def test_a_partition_that_waits_for_dead_letters_names_them_as_the_report_does() -> None:
    room = {"stream": "orders.billing.dead", "reason": "no processor reads it", "since_ms": 2000}
    row = partition(7, attempts=2, error=ERROR, failing=True, waits_for=room)
    letters = with_dead_letters(172, [])["processors"][0]["dead_letters"]
    summary = shown(row, width=200, letters=letters).partition("\n\n")[0]
    assert [line.strip() for line in summary.splitlines()[1:]] == [
        "172 dead letters wait in orders.billing.dead, and no processor reads the stream",
        "runnel processor dead-letters example:billing",
        "runnel dead replay example:billing   # once the cause is mended",
        "partition 7: no room in orders.billing.dead for 2s: to replay or drop some makes "
        "room, and so does a processor that reads them (no processor reads it)",
        "see docs/runbooks.md#events-were-set-aside, #a-partition-is-full",
    ]


def note(at: int, what: str, member: str | None = "w-1", more: str = "") -> dict[str, Any]:
    return {"at_ms": at * 1000, "what": what, "epoch": 17, "member": member, "more": more}


def test_it_is_told_when_events_were_lost() -> None:
    history = [note(3, "lost", "w-2", "17"), note(4, "lost", "w-2", "0")]
    output = shown(partition(7, lost=17, processed=40), history=history)
    assert "processed     40, 17 LOST, noted at 01-01 00:00:04Z\n" in output
    assert output.partition("history ")[2].splitlines()[:2] == [
        "      01-01 00:00:04Z an unknown number of events LOST, noted by w-2",
        "              01-01 00:00:03Z 17 events LOST, noted by w-2",
    ]
    assert "40, 17 LOST\n" in shown(partition(7, lost=17, processed=40)), "by an older Runnel"


def test_the_end_of_the_traceback_and_the_newest_notes_of_the_history() -> None:
    trace = "".join(f'  File "shop.py", line {n}\n' for n in range(20)) + "ValueError: \x1b no\n"
    history = [
        note(0, "claimed"),
        note(1, "quarantined", more="5-0"),
        note(2, "resumed", None),
        note(3, "took_over", "w-2", "w-1"),
        note(4, "released", "w-2"),
        note(5, "sought", None, "4-0"),
        note(6, "cleared", None, "totals"),
        note(7, "replayed", None),
        note(8, "dropped", None),
        note(9, "something new", None),
    ]
    row = partition(7, state="quarantined", error=ERROR, attempts=3)
    output = shown(row, traceback=trace, history=history)
    assert "… 9 lines before: --json has them\n" in output
    assert '                File "shop.py", line 9\n' in output
    assert "\n              ValueError: \\x1b no\n" in output
    assert output.partition("history ")[2].splitlines()[:9] == [
        "      01-01 00:00:09Z something new by an operator",
        "              01-01 00:00:08Z parked events dropped by an operator",
        "              01-01 00:00:07Z parked events replayed by an operator",
        "              01-01 00:00:06Z table totals cleared by an operator",
        "              01-01 00:00:05Z moved by an operator to behind 4-0",
        "              01-01 00:00:04Z released by w-2",
        "              01-01 00:00:03Z taken over by w-2: w-1 had not released it",
        "              01-01 00:00:02Z resumed by an operator",
        "              … and 2 before: --json has them",
    ]


def test_what_is_set_aside() -> None:
    letter = {"event": "9-0", "at": "2026-11-23", "attempts": 1, "error": "E: no", "record": {}}
    output = shown(
        partition(7, parked=3, parked_keys=1, postponed=1, postponed_in_ms=9000),
        parked=[PARKED, {**PARKED, "key": "7", "events": 1, "replaying": True, "error": None}],
        postponed=[{**PARKED, "due_in_ms": 4000}],
        dead_letters=[letter],
    )
    assert (
        "parked        3 events of 1 key\n"
        "              key 42: 3 events, the first is 1-0\n"
        "                failed 2 times: ValueError: no price\n"
        "              key 7: 1 event, replayed now, the first is 1-0\n"
        "                it only comes after another event of its key\n"
        "postponed     1\n"
        "              key 42: 1-0, tried again in 4s\n"
        "                failed 2 times: ValueError: no price\n"
        "dead letters  the newest of this partition:\n"
        "              2026-11-23: 9-0\n"
        "                failed 1 time: E: no\n"
        "              runnel dead list example:billing --partition 7\n"
    ) in output
    assert "grant XREVRANGE" in shown(partition(7), dead_letters=None)
