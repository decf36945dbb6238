"""What is wrong with streams, for people."""

from __future__ import annotations

from typing import Any

import click
import pytest

from runnel.cli import stream_problems, view
from runnel.cli.names import Names
from tests.cli.reports import partition, report, stream, stream_partition

FULL = stream_partition(0, length=100)
ROOM = {"stream": "mails", "reason": "post has not committed", "since_ms": 2000}
OLD = stream_partition(1, length=100, last="1795439099000-0")


def lines(state: str, row: dict[str, Any], *streams: dict[str, Any]) -> list[str]:
    """What is said of streams, without colours. `row` is the partition of billing."""
    seen = {**report(state, row), "streams": list(streams)}
    found = stream_problems.problems(seen, Names("example", "example:app"))
    return [click.unstyle(line) for line in found]


@pytest.mark.parametrize(
    ("state", "row", "found", "says"),
    [
        ("ok", partition(), stream(), []),
        (
            "down",
            partition(lag_events=100),
            stream("orders", FULL),
            [
                "shop/orders is full",
                "  partition 0 refuses events: billing has not finished the oldest of 100",
                "    runnel worker example:app --processors billing   # if it is to run",
                "    runnel processor remove orders@billing --app shop   # if it is gone for good",
                "    see docs/runbooks.md#a-partition-is-full",
            ],
        ),
        (
            "stalled",
            partition(lag_events=100),
            stream("orders", FULL),
            [
                "shop/orders is full",
                "  partition 0 refuses events: billing has not finished the oldest of 100",
                "    runnel inspect example:billing 0   # billing runs, 100 events behind",
                "    see docs/runbooks.md#a-partition-is-full",
            ],
        ),
        (
            "degraded",
            partition(lag_events=100, state="quarantined"),
            stream("orders", FULL),
            [
                "shop/orders is full",
                "  partition 0 refuses events: billing has not finished the oldest of 100",
                "    runnel inspect example:billing 0   # billing is quarantined",
                "    see docs/runbooks.md#a-partition-is-full",
            ],
        ),
        (
            "degraded",
            partition(lag_events=100, waits_for=ROOM, failing=True),
            stream("orders", FULL),
            [
                "shop/orders is full",
                "  partition 0 refuses events: billing has not finished the oldest of 100",
                "    runnel inspect example:billing 0   # billing waits for room in mails",
                "    see docs/runbooks.md#a-partition-is-full",
            ],
        ),
        (
            "down",
            partition(checkpoint=None),
            stream("orders", stream_partition(length=1)),
            [
                "shop/orders is read by nobody",
                "  its event stays until it is full",
                "    runnel worker example:app --processors billing",
                "    see docs/runbooks.md#nobody-reads-a-stream",
            ],
        ),
        (
            "ok",
            partition(),
            stream("others", FULL, stream_partition(1, length=100)),
            [
                "shop/others is read by nobody",
                "  its 200 events stay, and partitions 0-1 refuse more: full",
                '    run a processor of it, or declare it with retain="until_full"',
                "    see docs/runbooks.md#nobody-reads-a-stream",
            ],
        ),
        (
            "ok",
            partition(),
            stream("orders", OLD),
            [
                "the clock of the server was set back",
                "  it is 1h behind the newest event of shop/orders: ages are unknown,",
                "  and delayed events are late by as much",
                "    runnel doctor   # compares it with the clock of this machine",
                "    see docs/runbooks.md#the-clock",
            ],
        ),
    ],
)
def test_a_problem_is_shown_with_the_command_that_helps(
    state: str, row: dict[str, Any], found: dict[str, Any], says: list[str]
) -> None:
    assert lines(state, row, found)[1:] == says


def test_a_worker_is_not_told_to_run_what_its_code_does_not_declare() -> None:
    seen = {**report("down", partition(lag_events=100)), "streams": [stream("orders", FULL)]}
    names = Names("example", "example:app", frozenset({("orders", "printer")}))
    said = "\n".join(stream_problems.problems(seen, names))
    assert "runnel processor remove orders@billing" in said
    assert "runnel worker" not in said


def test_commands_name_the_server_that_was_given() -> None:
    names = Names(redis_url="redis://h:1")
    for state, streams in (
        ("down", [stream("orders", FULL)]),
        ("ok", [stream("orders", OLD)]),
    ):
        seen = {**report(state, partition(lag_events=100)), "streams": streams}
        found = stream_problems.problems(seen, names)
        commands = [each.strip() for each in found if each.strip().startswith("runnel ")]
        assert commands
        assert all(" --redis-url redis://h:1" in each for each in commands), commands


def test_commands_have_the_url_that_was_given() -> None:
    """Else, where they are typed, they would change another Redis."""
    newest = stream_partition(0, length=100, last="1795439099000-0")
    row = partition(lag_events=100, checkpoint=None)
    for seen in (
        {**report("down", partition(lag_events=100)), "streams": [stream("orders", newest)]},
        {**report("down", row), "streams": [stream("orders", newest)]},
    ):
        said = stream_problems.problems(seen, Names(redis_url="redis://h:6380"))
        commands = [line for line in said if line.startswith("    runnel")]
        assert len(commands) >= 2
        assert all(" --redis-url redis://h:6380" in line for line in commands)


def test_the_first_line_does_not_say_that_all_is_well() -> None:
    seen = {**report("ok"), "streams": [stream("others", FULL)]}
    first = view.lines(seen, "redis://h:6379", Names())[0]
    assert click.unstyle(first).startswith("DEGRADED: shop/others · ")
