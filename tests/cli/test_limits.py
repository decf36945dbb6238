"""Limits of `inspect`, and their exit codes."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.cli.limits import Limits, judge
from tests.cli.reports import partition, report, with_dead_letters


def judged(seen: dict[str, Any], **limits: Any) -> int:
    none: dict[str, Any] = dict.fromkeys(("max_lag", "max_dead", "min_members"))
    return judge(seen, Limits(**{"states": [], "stalled_after": 60.0, **none, **limits}))


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
    assert judged(with_dead_letters(3, []), max_dead=3) == 0
    assert judged(with_dead_letters(3, []), max_dead=2) == 10
    capsys.readouterr()
    assert judged(with_dead_letters(None, ["complaints"]), max_dead=2) == 10
    said = "shop/billing: an unknown number of dead letters wait, allowed 2\n"
    assert capsys.readouterr().err == said
    assert judged(with_dead_letters(1, []), max_dead=0) == 10
    assert capsys.readouterr().err == "shop/billing: 1 dead letter waits, allowed 0\n"
