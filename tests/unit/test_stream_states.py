"""What is wrong with streams, from reports alone."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.operations.stream_states import unregistered, wrong_streams
from tests.cli.reports import partition, report, stream, stream_partition, with_dead_letters

FULL = stream_partition(0, length=100)
NOW = report()["at_ms"]


def seen(stream_row: dict[str, Any], *rows: dict[str, Any]) -> dict[str, Any]:
    """A report on a stream, and on billing, which reads the stream of orders."""
    return {**report("ok", *rows), "streams": [stream_row]}


def at(ms: int) -> dict[str, Any]:
    """A stream whose newest event has this time."""
    return stream("orders", stream_partition(last=f"{ms}-0"))


@pytest.mark.parametrize(
    ("found", "unread", "full"),
    [
        (seen(stream()), None, None),
        (seen(stream("orders", FULL), partition(lag_events=99)), False, {"billing": [0]}),
        # Old events that all have finished make room.
        (seen(stream("orders", FULL), partition(lag_events=98)), None, None),
        (seen(stream("orders", FULL), partition(lag_events=None)), None, None),
        (seen(stream("orders", FULL, partition_size=None), partition(lag_events=99)), None, None),
        (
            seen(stream("orders", stream_partition(length=None), length=1), partition()),
            None,
            None,
        ),
        (seen(stream("others", FULL)), True, {None: [0]}),
        (seen(stream("others", stream_partition(length=1))), True, {}),
        (seen(stream("others")), None, None),
        (seen(stream("others", FULL, retain="until_full")), None, None),
        (seen(stream("orders", FULL), partition(checkpoint=None)), True, {None: [0]}),
        (with_dead_letters(3, []) | {"streams": [stream("orders.billing.dead", FULL)]}, None, None),
    ],
)
def test_a_stream_is_full_or_unread(
    found: dict[str, Any], unread: bool | None, full: dict[str | None, list[int]] | None
) -> None:
    states = list(wrong_streams(found))
    assert [(each.unread, each.full) for each in states] == (
        [] if full is None else [(unread, full)]
    )


@pytest.mark.parametrize(
    ("ms", "ahead"), [(NOW, None), (NOW + 4_000, None), (NOW + 60_000, 60_000)]
)
def test_events_ahead_of_the_clock_show_that_it_was_set_back(ms: int, ahead: int | None) -> None:
    states = list(wrong_streams(seen(at(ms))))
    assert [each.ahead_ms for each in states] == ([] if ahead is None else [ahead])


def test_processors_that_nobody_has_registered_are_known() -> None:
    assert not unregistered(stream(), seen(stream()))
    waiting = seen(stream(), partition(checkpoint=None))
    assert [each["name"] for each in unregistered(stream(), waiting)] == ["billing"]
