"""What `runnel inspect` finds has its section in the runbooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runnel.cli import runbooks
from runnel.operations.figures import PARKED
from tests.cli.reports import ERROR, partition, report, stream, stream_partition, with_dead_letters

PAGE = (Path(__file__).parents[2] / runbooks.PAGE).read_text()
#: The text of each section, by its anchor.
TEXTS = {
    re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-"): text
    for head, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
ROOM = {"stream": "notes", "reason": "audit has not committed", "since_ms": 2000}


def test_each_section_exists() -> None:
    assert set(runbooks.SECTIONS) <= TEXTS.keys()


@pytest.mark.parametrize(
    ("seen", "sections"),
    [
        (report(), []),
        (report("down"), [runbooks.NO_WORKER]),
        (report("ok", partition(lost=3)), [runbooks.LOST]),
        (
            report("degraded", partition(state="quarantined", error=ERROR)),
            [runbooks.QUARANTINED],
        ),
        (report("degraded", partition(error=ERROR)), [runbooks.FAILING]),
        (report("degraded", partition(failing=True)), [runbooks.FAILING]),
        (report("stalled"), [runbooks.STUCK]),
        (report("degraded", partition(state="paused")), [runbooks.PAUSED]),
        (report("degraded", partition(state="unassigned")), [runbooks.UNASSIGNED]),
        (report("degraded", partition(parked=1)), [runbooks.SET_ASIDE]),
        (report("degraded", partition(postponed=1)), [runbooks.SET_ASIDE]),
        (with_dead_letters(3, []), [runbooks.SET_ASIDE]),
        (report("degraded", partition(waits_for=ROOM)), [runbooks.FULL]),
        (report("degraded", partition(outbox_waits_for=ROOM)), [runbooks.FULL]),
        (report("degraded", partition(overdue_ms=60_000)), [runbooks.FULL]),
        (
            report("degraded", partition(waits_for=ROOM, failing=True, error=ERROR)),
            [runbooks.FULL],
        ),
        (
            {
                **report("degraded", partition(waits_for=ROOM)),
                "streams": [stream("notes", stream_partition(length=100))],
            },
            [runbooks.UNREAD, runbooks.FULL],
        ),
        (
            report("degraded", partition(waits_for={**ROOM, "stream": PARKED}, parked=3)),
            [runbooks.SET_ASIDE, runbooks.FULL],
        ),
        (
            {**report(), "streams": [stream("others", stream_partition(length=100))]},
            [runbooks.UNREAD, runbooks.FULL],
        ),
        (
            {**report(), "streams": [stream("orders", stream_partition(last="1895435499000-0"))]},
            [runbooks.CLOCK],
        ),
    ],
)
def test_what_is_found_has_its_section(seen: dict[str, Any], sections: list[str]) -> None:
    assert runbooks.of_report(seen) == sections
    page = {**report(), "processors": [], "streams": []}
    assert not runbooks.of_report(page)


def test_code_that_does_not_declare_a_processor_is_a_matter_of_deploys() -> None:
    (processor,) = report("down")["processors"]
    found = runbooks.of_processor(processor, declared=False)
    assert found == [runbooks.DEPLOY, runbooks.NO_WORKER]
    assert runbooks.see(*found) == "see docs/runbooks.md#a-wrong-deploy, #no-worker-runs"


@pytest.mark.parametrize(
    "section",
    [
        each
        for each in runbooks.SECTIONS
        if each not in (runbooks.FAILING, runbooks.PAUSED, runbooks.UNASSIGNED)
    ],
)
def test_each_incident_says_what_is_at_risk_how_it_ends_and_what_not_to_do(section: str) -> None:
    for part in ("*Seen as:*", "```text\n", "**At risk:**", "**It is over when**", "**Do not**"):
        assert part in TEXTS[section]
