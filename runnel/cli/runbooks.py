"""Names the sections of docs/runbooks.md that help with what `runnel inspect` finds. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from runnel.operations.figures import PARKED, is_overdue, lost
from runnel.operations.stream_states import wrong_streams

Json = dict[str, Any]

PAGE = "docs/runbooks.md"

NO_REDIS = "redis-does-not-answer"
FAILOVER = "a-failover-does-not-come"
NO_WORKER = "no-worker-runs"
LOST = "events-were-lost"
QUARANTINED = "a-partition-is-quarantined"
PAUSED = "a-partition-is-paused"
UNASSIGNED = "a-partition-is-unassigned"
STUCK = "a-handler-is-stuck"
FAILING = "an-event-keeps-failing"
FULL = "a-partition-is-full"
SET_ASIDE = "events-were-set-aside"
UNREAD = "nobody-reads-a-stream"
DEPLOY = "a-wrong-deploy"
CLOCK = "the-clock"

#: Each section that a message names.
SECTIONS = (
    NO_REDIS,
    FAILOVER,
    NO_WORKER,
    LOST,
    QUARANTINED,
    PAUSED,
    UNASSIGNED,
    STUCK,
    FAILING,
    FULL,
    SET_ASIDE,
    UNREAD,
    DEPLOY,
    CLOCK,
)


def see(*sections: str) -> str:
    """Where to read on."""
    return f"see {PAGE}#{', #'.join(sections)}"


def of_report(seen: Json) -> list[str]:
    """The sections for all that a report shows."""
    wrong = list(wrong_streams(seen))
    unread = {(each.stream["app"], each.stream["name"]) for each in wrong if each.unread}
    found = [section for each in seen["processors"] for section in of_processor(each, True, unread)]
    for each in wrong:
        found += [UNREAD] * each.unread + [FULL] * bool(each.full) + [CLOCK] * bool(each.ahead_ms)
    return list(dict.fromkeys(found))


def of_processor(
    processor: Json, declared: bool = True, unread: Collection[tuple[str, str]] = ()
) -> list[str]:
    """The sections for a processor, the most urgent first; none if it is well. `declared` is false
    if the code that is here does not declare it. `unread` are app and name of the streams that
    nobody reads."""
    rows, state = processor["partitions"], processor["state"]
    letters = processor["dead_letters"]
    waits_for = {
        (row[field] or {}).get("stream")
        for row in rows
        for field in ("waits_for", "outbox_waits_for")
    } - {None}
    fills = bool(letters and letters["stream"] in waits_for)
    set_aside = any(row["parked"] or row["postponed"] for row in rows)
    set_aside |= bool(letters and letters["waiting"] != 0)
    has_room = [row for row in rows if not row["waits_for"]]
    found = [
        (DEPLOY, not declared),
        (NO_WORKER, state == "down"),
        (LOST, any(lost(row) for row in rows)),
        (QUARANTINED, any(row["state"] == "quarantined" for row in rows)),
        (STUCK, state == "stalled"),
        # What a partition waits for comes before the wait: it is the cause.
        (SET_ASIDE, fills or PARKED in waits_for),
        (UNREAD, any((processor["app"], each) in unread for each in waits_for)),
        (FULL, any(row["waits_for"] or row["outbox_waits_for"] for row in rows)),
        (
            FAILING,
            any(
                (row["failing"] or row["error"]) and row["state"] != "quarantined"
                for row in has_room
            ),
        ),
        (FULL, any(is_overdue(row) for row in rows)),
        (SET_ASIDE, set_aside),
        (PAUSED, any(row["state"] == "paused" for row in rows)),
        (UNASSIGNED, state != "down" and any(row["state"] == "unassigned" for row in rows)),
    ]
    return list(dict.fromkeys(section for section, holds in found if holds))
