"""The figures of worker processes on the page `/metrics`."""

from __future__ import annotations

import json
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runnel.cli.worker_figures import ROWS, Figures, Sum, Told, page
from runnel.metrics.tally import PROCESSED, Tally


def figures(ok: float, blocked: float = 0.0) -> Figures:
    tally = Tally()
    tally.counter(PROCESSED, "shop", "billing", "ok").value = ok
    return Figures(tally.rows(), blocked, ("1.0", "abc"))


def of(body: bytes, name: str) -> float:
    """The sum of the samples of this name."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == name
    )


def test_lines_of_any_number_make_the_same_figures() -> None:
    rows = [["runnel_events_processed", "shop", f"p{each}", "ok", each] for each in range(2 * ROWS)]
    sent = Figures([*rows, ["runnel_leases_lost", "shop", "p", "FENCED", 1]], 0.25, ("1", "a"))
    told = Told()
    assert told.figures is None
    lines = list(sent.lines())
    assert len(lines) == 3
    for each in (*lines, *lines):  # Told again, they count once.
        told.take(json.loads(json.dumps(each)))
    assert told.figures == sent
    (alone,) = Figures([], 0.0, ("1", "a")).lines()
    told.take(alone)
    assert told.figures
    assert told.figures.blocked == 0.0


def test_what_processes_have_counted_that_ended_stays_in_the_sum() -> None:
    total, running = Sum(), {1: figures(3, 0.5), 2: figures(4, 2.0)}

    def body() -> bytes:
        return total.page(lambda: [*running.values(), None]).body

    assert of(body(), "runnel_events_processed_total") == 7
    assert of(body(), "runnel_worker_processes") == 2
    assert of(body(), "runnel_event_loop_blocked_seconds") == 2.0
    total.ended(running[2], lambda: running.pop(2) and None)
    assert of(body(), "runnel_events_processed_total") == 7
    assert of(body(), "runnel_worker_processes") == 1
    total.ended(None, lambda: running.clear())
    assert of(body(), "runnel_events_processed_total") == 4


def test_without_the_package_the_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "runnel.metrics.families", raising=False)
    monkeypatch.delattr("runnel.metrics.families", raising=False)
    found = page(Tally(), [])
    assert found.status == 501
    assert found.body == b"metrics need another package: pip install 'runnel[metrics]'\n"
