"""Limits of `inspect`, and their exit codes."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.cli.limits import STATES, WRONG, Limits, exceeded, judge, tolerated
from runnel.cli.names import Names
from tests.cli.reports import partition, report, with_dead_letters


def judged(seen: dict[str, Any], **limits: Any) -> int:
    none: dict[str, Any] = dict.fromkeys(("max_lag", "max_dead", "min_members"))
    return judge(seen, Limits(**{"states": [], "stalled_after": 60.0, **none, **limits}), Names())


def test_the_highest_limit_exceeded_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    unassigned = report("down", partition(state="unassigned", owner=None))
    assert judged(unassigned) == 0
    assert judged(report(), max_lag=1204) == 0
    assert judged(report(), max_lag=1203) == 10
    assert judged(report("ok", partition(current_event_ms=61_000)), states=["stalled"]) == 11
    assert judged(report("ok", partition(current_event_ms=59_000)), states=["stalled"]) == 0
    assert judged(unassigned, max_lag=0, states=["unassigned"]) == 11
    assert judged(unassigned, max_lag=0, states=["quarantined"]) == 10
    assert judged(unassigned, max_lag=0, states=["unassigned"], min_members=1) == 12
    assert judged(report(), min_members=1) == 0
    assert judged(report(), min_members=2) == 12
    unknown = report()
    unknown["processors"][0]["lag_events"] = None
    capsys.readouterr()
    assert judged(unknown, max_lag=10) == 10
    assert capsys.readouterr().err == "shop/billing: lag is unknown, allowed 10\n"
    assert judged({**report(), "processors": []}, min_members=1) == 12
    assert judged(report("degraded", partition(failing=True)), states=["failing"]) == 11
    assert judged(report("degraded", partition(failing=True))) == 0
    assert judged(report(), states=["failing"], max_dead=0) == 0
    waits = partition(waits_for={"stream": "alerts", "reason": "of mail", "since_ms": 9})
    assert judged(report("degraded", waits), states=["waiting"]) == 11
    outbox = partition(outbox_waits_for={"stream": "alerts", "reason": "of mail", "since_ms": 9})
    assert judged(report("degraded", outbox), states=["waiting"]) == 11
    assert judged(report(), states=["waiting"]) == 0
    mixed = report()
    mixed["processors"][0]["mixed"] = True
    assert judged(mixed, states=["mixed"]) == 11
    assert judged(mixed) == judged(report(), states=["mixed"]) == 0
    assert judged(with_dead_letters(3, []), max_dead=3) == 0
    assert judged(with_dead_letters(3, []), max_dead=2) == 10
    capsys.readouterr()
    assert judged(with_dead_letters(None, ["complaints"]), max_dead=2) == 10
    said = "shop/billing: an unknown number of dead letters wait, allowed 2\n"
    assert capsys.readouterr().err == said
    assert judged(with_dead_letters(1, []), max_dead=0) == 10
    assert capsys.readouterr().err == "shop/billing: 1 dead letter waits, allowed 0\n"


ROOM = {"stream": "alerts", "reason": "of mail", "since_ms": 9}


def reasons(states: tuple[str, ...], *rows: dict[str, Any]) -> list[str]:
    limits = Limits(states, 60.0, None, None, None)
    return [reason for _, reason in exceeded(report("degraded", *rows), limits, Names())]


def test_each_partition_is_told_once_and_by_its_number() -> None:
    look = "(runnel inspect shop/billing"
    assert reasons(WRONG, partition(3, state="quarantined", failing=True)) == [
        f"shop/billing: partition 3 is quarantined {look} 3)"
    ]
    assert reasons(WRONG, partition(1, failing=True, waits_for=ROOM, current_event_ms=99_000)) == [
        f"shop/billing: partition 1 waits for room {look} 1)"
    ]
    assert reasons(("failing",), partition(1, failing=True, waits_for=ROOM)) == [
        f"shop/billing: partition 1 is failing {look} 1)"
    ]
    rows = [partition(n, failing=True) for n in range(5)]
    assert reasons(WRONG, *rows, partition(7, waits_for=ROOM), partition(8, waits_for=ROOM)) == [
        f"shop/billing: partitions 7, 8 wait for room {look} 7)",
        f"shop/billing: partitions 0, 1, 2 and 2 more are failing {look} 0)",
    ]
    assert reasons(STATES, partition(0, lost=3, lost_acknowledged=2, postponed=2)) == [
        f"shop/billing: 2 events postponed in partition 0 {look} 0)",
        f"shop/billing: 1 event lost in partition 0 {look} 0)",
    ]


def test_what_no_limit_is_for_is_told_all_the_same() -> None:
    limits = Limits(WRONG, 60.0, None, None, 1)
    assert tolerated(report(), limits, Names()) == []
    seen = with_dead_letters(172, [])
    seen["processors"][0]["partitions"] = [partition(parked=54), partition(1, state="paused")]
    assert exceeded(seen, limits, Names()) == []
    assert [each.partition(" (")[0] for each in tolerated(seen, limits, Names())] == [
        "shop/billing: 172 dead letters wait",
        "shop/billing: partition 1 is paused",
        "shop/billing: 54 events parked in partition 0",
    ]


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (Names(redis_url="redis://h:1"), "runnel inspect shop/billing 3 --redis-url redis://h:1"),
        (Names("example", "example:app"), "runnel inspect example:app billing 3"),
    ],
)
def test_the_next_command_can_be_pasted(names: Names, command: str) -> None:
    limits = Limits(WRONG, 60.0, None, None, 1)
    ((_, reason),) = exceeded(report("degraded", partition(3, failing=True)), limits, names)
    assert reason.endswith(f"({command})")
    ((code, reason),) = exceeded({**report(), "processors": []}, limits, names)
    assert code == 12
    assert f"`runnel worker {names.app}{names.at}`" in reason
