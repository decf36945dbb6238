"""Reports of `inspect` for people."""

from __future__ import annotations

from typing import Any

import click
import pytest

from runnel.cli import view
from runnel.cli.dead_letters import as_text
from runnel.cli.names import Names
from runnel.operations.figures import PARKED
from tests.cli.reports import AT, ERROR, partition, report, with_dead_letters


def lines(seen: dict[str, Any], **options: Any) -> list[str]:
    """The report for people, without colours."""
    names = Names("example", "example:app")
    output = view.lines(seen, "redis://h:6379", names, **options)
    return [click.unstyle(line) for line in output]


def test_the_first_line_is_a_summary() -> None:
    assert lines(report())[0] == (
        "OK · lag 1204, 1m1s behind · 1 worker · valkey 9.1.2 at redis://h:6379 · 12:04:59Z"
    )
    quiet = report("ok", partition(lag_events=0))
    quiet["totals"]["lag_ms"] = 0
    assert lines(quiet)[0].startswith("OK · lag 0 · 1 worker · ")
    assert lines(report("stalled"))[0].startswith("STALLED: 1 of 1 processors · lag 1204")
    nothing = {**report(), "processors": [], "members": []}
    assert lines(nothing)[0].startswith("EMPTY: nothing is registered yet · valkey")
    unknown = report()
    waiting = lines(with_dead_letters(3, []))[0]
    assert " · lag 1204, 1m1s behind · dead letters 3 · 1 worker" in waiting
    unknown["totals"]["lag_events"] = unknown["totals"]["lag_ms"] = None
    assert lines(unknown)[0].startswith("OK · lag 1204+ · ")
    unknown["processors"][0]["partitions"][0]["lag_events"] = None
    assert lines(unknown)[0].startswith("OK · lag ? · ")
    failed = lines(report("degraded", partition(state="quarantined", lag_events=2)))[0]
    assert " · lag 2, 1m1s behind · quarantined 1 · 1 worker · " in failed
    two = report("down")
    two["processors"] += report("degraded")["processors"]
    assert lines(two)[0].startswith("DOWN: 1, degraded: 1, of 2 processors · ")


def test_a_processor_without_problems_is_only_in_the_tables() -> None:
    assert lines(report())[1:3] == [
        "",
        "PROCESSOR     STREAM  STATE  PARTITIONS  OWNED  MEMBERS  LAG   BEHIND  DEAD",
    ]


#: What a partition waits for.
ROOM = {"stream": "alerts", "reason": "of mail", "since_ms": 9}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (
            report(
                "degraded", partition(3, state="quarantined", error=ERROR, current_event_ms=None)
            ),
            [
                "shop/billing is degraded",
                "  partition 3 is quarantined: ValueError at 1795435471200-0: no price",
                "    runnel inspect example:billing 3   # its event",
                "    runnel processor resume example:billing --partition 3"
                "   # --skip skips the failed event",
            ],
        ),
        (
            report("stalled", partition(1), partition(2, current_event_ms=75_000)),
            [
                "shop/billing is stalled",
                "  partition 2 has not moved for 1m15s: billing-worker-5d9c7b9f4-abcde (node-7:41) "
                "is still processing the event after 1795435471123-0",
                "    kill 41   # on node-7: ends that worker, and another one takes over",
                "    runnel inspect example:billing 2   # its event",
            ],
        ),
        (
            report(
                "degraded",
                partition(1, waits_for=ROOM),
                partition(2, waits_for={**ROOM, "since_ms": 9000}),
            ),
            [
                "shop/billing is degraded",
                "  partitions 1-2: no room in alerts for 9s: to run what reads it makes "
                "room, and so does a larger partition_size (of mail)",
            ],
        ),
        (
            report(
                "degraded",
                partition(1, parked=3, parked_keys=2, waits_for={**ROOM, "stream": PARKED}),
                partition(2, parked=1, parked_keys=1, replaying=1),
            ),
            [
                "shop/billing is degraded",
                "  partition 1: no room in its parked events for 9ms: to replay or drop some "
                "makes room, and so does a larger park_limit (of mail)",
                "  partitions 1-2: 4 events of 3 keys parked, 1 of the keys replayed now",
                "    runnel dead list example:billing",
                "    runnel dead replay example:billing   # once the cause is mended",
            ],
        ),
        (
            report(
                "degraded",
                partition(1, postponed=3, postponed_in_ms=61_000),
                partition(2, postponed=1, postponed_in_ms=9000),
            ),
            [
                "shop/billing is degraded",
                "  partitions 1-2: 4 failed events postponed, the next retry in 9s",
                "    runnel dead list example:billing",
            ],
        ),
        (
            report(
                "degraded",
                partition(1, outbox=3, outbox_waits_for=ROOM),
                partition(2, outbox=4, outbox_waits_for={**ROOM, "since_ms": 9000}, outbox_lost=2),
                partition(3, outbox=5),
                partition(4, outbox=1, owner=None),
            ),
            [
                "shop/billing is degraded",
                "  partitions 1-2: 7 emitted entries wait in the outbox for room in alerts, for "
                "9s, because of mail",
                "  partition 4: 1 emitted entry waits in the outbox until a worker claims the "
                "partition",
                "  partition 2: 2 emitted entries were LOST in the outbox",
            ],
        ),
        (
            report(
                "degraded",
                partition(1, waits_for={"stream": None, "reason": "NOPERM xadd", "since_ms": 9000}),
            ),
            [
                "shop/billing is degraded",
                "  partition 1: Redis refuses its commits for 9s: NOPERM xadd",
            ],
        ),
        (
            report("down", partition(owner=None, state="unassigned", lag_events=7)),
            [
                "shop/billing is down",
                "  no live member; lag: 7 events",
                "    runnel worker example:app",
            ],
        ),
        (
            report(
                "down", partition(owner=None, state="unassigned", checkpoint=None, lag_events=None)
            ),
            [
                "shop/billing is down",
                "  it is not registered: no events are kept for it",
                "    runnel worker example:app",
            ],
        ),
        (
            report("degraded", *(partition(n, state="paused") for n in (0, 1, 2, 5))),
            [
                "shop/billing is degraded",
                "  partitions 0-2,5 paused by an operator",
                "    runnel processor resume example:billing",
            ],
        ),
        (
            report("degraded", partition(0), partition(1, state="unassigned", owner=None)),
            [
                "shop/billing is degraded",
                "  partition 1 unassigned: a worker claims them within a heartbeat; if none does, "
                "see the workers' logs",
            ],
        ),
        (
            report(
                "degraded",
                *(
                    partition(n, state="quarantined", error={**ERROR, "event": f"{n}-0"})
                    for n in (1, 2, 5)
                ),
                partition(9),
            ),
            [
                "shop/billing is degraded",
                *(
                    f"  partition {n} is quarantined: ValueError at {n}-0: no price"
                    for n in (1, 2, 5)
                ),
                "    runnel inspect example:billing 1   # its event",
                "    runnel processor resume example:billing --partition 1-2,5"
                "   # --skip skips the failed events",
            ],
        ),
        (
            report(
                "degraded",
                partition(0, state="quarantined", error=ERROR),
                *(
                    partition(n, state="quarantined", error={**ERROR, "event": AT})
                    for n in (1, 2, 5)
                ),
            ),
            [
                "shop/billing is degraded",
                "  partition 0 is quarantined: ValueError at 1795435471200-0: no price",
                "  partitions 1-2,5 quarantined: the handler fails before its first event: "
                "ValueError: no price",
                "    runnel inspect example:billing 0   # its event",
                "    runnel processor resume example:billing   # --skip skips the failed event",
            ],
        ),
        (
            report("degraded", partition(0, state="quarantined", error={**ERROR, "event": AT})),
            [
                "shop/billing is degraded",
                "  partition 0 quarantined: the handler fails before its first event: "
                "ValueError: no price",
                "    runnel processor resume example:billing --partition 0",
            ],
        ),
        (
            report(
                "degraded",
                *(partition(n, failing=True, error={**ERROR, "event": AT}) for n in range(3)),
            ),
            [
                "shop/billing is degraded",
                "  partitions 0-2: the handler fails before its first event: ValueError: no price",
            ],
        ),
        (
            report("degraded", partition(0, failing=True, error={**ERROR, "event": AT})),
            [
                "shop/billing is degraded",
                "  partition 0: the handler fails before its first event: ValueError: no price",
            ],
        ),
        (
            report(
                "degraded",
                partition(0, state="unassigned", owner=None, failing=True, attempts=4, error=ERROR),
            ),
            [
                "shop/billing is degraded",
                "  partition 0 has failed 4 times: ValueError at 1795435471200-0: no price",
                "    runnel processor resume example:billing --partition 0 --skip   # skips the "
                "failed event; a worker that starts retries it",
                "  partition 0 unassigned: a worker claims them within a heartbeat; if none does, "
                "see the workers' logs",
                "    runnel inspect example:billing 0   # its event",
            ],
        ),
        (
            report("degraded", partition(0, failing=True, unclean_tenures=2)),
            [
                "shop/billing is degraded",
                "  partition 0: workers died one after the other while they processed the next "
                "event: see the end of their logs, and their memory",
                "    runnel inspect example:billing 0   # its event",
            ],
        ),
        (
            with_dead_letters(3, []),
            [
                "shop/billing is degraded",
                "  3 dead letters wait in orders.billing.dead, and no processor reads the stream",
                "    runnel processor dead-letters example:billing",
                "    runnel dead replay example:billing   # once the cause is mended",
            ],
        ),
        (
            with_dead_letters(1, ["complaints"]),
            [
                "shop/billing is degraded",
                "  1 dead letter waits in orders.billing.dead, for complaints",
                "    runnel processor dead-letters example:billing",
                "    runnel dead replay example:billing   # once the cause is mended",
            ],
        ),
        (
            report("ok", partition(0, lost=3), partition(1, lost=4)),
            [
                "shop/billing is ok",
                "  partitions 0-1: 7 events were LOST before they were processed",
                "    runnel processor acknowledge example:billing   # once they are sent again, or "
                "given up",
            ],
        ),
        (
            report("ok", partition(0, attempts=2, error=ERROR)),
            [
                "shop/billing is ok",
                "  partition 0 has failed 2 times: ValueError at 1795435471200-0: no price",
                "    runnel inspect example:billing 0   # its event",
            ],
        ),
    ],
    ids=[
        "quarantined",
        "stalled",
        "no room",
        "refused commits",
        "parked",
        "postponed",
        "outbox",
        "down",
        "unregistered",
        "paused",
        "unassigned",
        "several quarantined",
        "quarantined, some before the first event",
        "quarantined before the first event",
        "several failing before the first event",
        "failing before the first event",
        "halted",
        "deaths",
        "dead letters",
        "a dead letter that somebody reads",
        "lost",
        "failing",
    ],
)
def test_a_problem_is_shown_with_the_command_that_helps(
    seen: dict[str, Any], says: list[str]
) -> None:
    output = lines(seen)
    assert output[1] == ""
    assert output[2 : 2 + len(says)] == says
    assert output[2 + len(says)].startswith("    see docs/runbooks.md#")
    assert output[3 + len(says)] == ""


def test_problems_of_an_undeclared_processor_that_workers_run_are_shown_too() -> None:
    quarantined = partition(3, state="quarantined", error=ERROR, current_event_ms=None)
    names = Names("example", "example:app", frozenset({("orders", "printer")}))
    output = view.lines(report("degraded", quarantined), "redis://h:6379", names)
    assert [click.unstyle(line) for line in output[2:7]] == [
        "shop/billing is degraded",
        "  example:app does not declare it, but workers run it: they run other code",
        "  partition 3 is quarantined: ValueError at 1795435471200-0: no price",
        "    see docs/runbooks.md#a-wrong-deploy, #a-partition-is-quarantined",
        "",
    ]


def test_control_characters_in_errors_do_not_reach_the_terminal() -> None:
    error = {**ERROR, "type": "Błąd", "message": "no\n  price \x1b[31m\x07 ż"}
    seen = report("degraded", partition(0, state="quarantined", error=error))
    expected = "Błąd at 1795435471200-0: no price \\x1b[31m\\x07 ż"
    assert f"  partition 0 is quarantined: {expected}" in lines(seen)
    dead_letter = {
        **dict.fromkeys(("at", "partition", "event"), ""),
        "attempts": 1,
        "record": {},
        "error_type": error["type"],
        "error_message": error["message"],
    }
    assert "Błąd: no price \\x1b[31m\\x07 ż\n" in as_text(dead_letter)


def test_overdue_and_lost_delayed_events_are_problems() -> None:
    rows = (partition(id=0, overdue_ms=4_000), partition(id=3, overdue_ms=61_000, delayed_lost=2))
    seen = report("degraded", *rows)
    found = "\n".join(lines(seen))
    assert "partition 3: delayed events are overdue by 1m1s: the log is full, or no worker" in found
    assert "partition 3: 2 delayed events of orders were LOST" in found
    assert "partition 0:" not in found


def test_what_a_partition_waits_for_comes_before_its_failures() -> None:
    room = {"stream": "orders.billing.dead", "reason": "no processor reads it", "since_ms": 2000}
    seen = report("degraded", partition(3, attempts=2, error=ERROR, failing=True, waits_for=room))
    seen["processors"][0]["dead_letters"] = with_dead_letters(172, [])["processors"][0][
        "dead_letters"
    ]
    said = lines(seen)[2:8]
    assert said == [
        "shop/billing is degraded",
        "  172 dead letters wait in orders.billing.dead, and no processor reads the stream",
        "    runnel processor dead-letters example:billing",
        "    runnel dead replay example:billing   # once the cause is mended",
        "  partition 3: no room in orders.billing.dead for 2s: to replay or drop some makes "
        "room, and so does a processor that reads them (no processor reads it)",
        "    see docs/runbooks.md#events-were-set-aside, #a-partition-is-full",
    ]


def test_members_of_different_versions_are_named_and_shown() -> None:
    seen = report("ok", *(partition(n, owner=f"w{n}") for n in range(8)))
    assert not any("SCRIPTS" in line for line in lines(seen))
    for number, member in enumerate(seen["members"]):
        member["version"] = f"1.{max(number - 1, 0)}"
    seen["members"][7] |= {"lang": "ruby", "version": None, "scripts": None}
    seen["processors"][0]["mixed"] = True
    said = lines(seen)
    assert said[2] == "shop/billing is ok"
    assert said[3].startswith("  its members run different versions: python 1.0 with scripts")
    assert said[3].count(" with scripts 4fbc2d1 (") == 5
    assert said[3].endswith(", 2 more")
    assert any(line.split()[-3:] == ["ruby", "?", "?"] for line in said)


def test_without_code_commands_name_a_processor_by_app_and_stream() -> None:
    seen = report("degraded", partition(3, state="quarantined", error=ERROR))
    said = [click.unstyle(line) for line in view.lines(seen, "redis://h:6379", Names())]
    assert any("runnel processor resume shop/orders@billing --partition 3" in e for e in said)
