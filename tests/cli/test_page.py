"""What the page says: the words of the terminal."""

from __future__ import annotations

from typing import Any

import click
import pytest

from runnel.cli import page, partition_view, view
from runnel.cli.names import Names
from runnel.connection.url_text import redacted
from tests.cli.reports import ERROR, partition, report, stream, stream_partition

URL = "redis://:secret@h:6379"
CODE = Names("example", "example:app")
WITHOUT = Names(redis_url="redis://h:6379")


def looked_at(row: dict[str, Any], **detail: Any) -> dict[str, Any]:
    """A report on one partition."""
    lists: dict[str, Any] = {"parked": [], "postponed": [], "dead_letters": []}
    empty = {"event": None, "stalled": False, "traceback": "", "history": [], **lists}
    return {**report("degraded", row), "partition": {"id": row["id"], **empty, **detail}}


@pytest.mark.parametrize(
    ("seen", "state", "summary"),
    [
        (report(), "ok", "OK"),
        (report("stalled"), "stalled", "STALLED: 1 of 1 processors"),
        ({**report(), "processors": [], "members": []}, "empty", "EMPTY: nothing is registered"),
        (
            {**report(), "streams": [stream("mails", stream_partition(0, length=1))]},
            "degraded",
            "DEGRADED: shop/mails",
        ),
    ],
)
def test_the_headline_is_that_of_the_terminal(
    seen: dict[str, Any], state: str, summary: str
) -> None:
    found = page.Words(URL, CODE).of_report(seen)
    assert found["state"] == state
    assert found["headline"][0].startswith(summary)
    said = click.unstyle(view.headline(seen, redacted(URL)))
    assert " · ".join(found["headline"]) == said
    assert "secret" not in str(found)


def test_all_that_the_terminal_finds_is_there_with_commands_that_can_be_copied() -> None:
    seen = report("down", partition(lag_events=100, state="unassigned", owner=None))
    ahead = f"{seen['at_ms'] + 3_600_000}-0"
    seen["streams"] = [
        stream("orders", stream_partition(0, length=100, last=ahead)),
        stream("mails", stream_partition(0, length=1)),
    ]
    found = page.Words(URL, WITHOUT).of_report(seen)
    heads = [each["head"] for each in found["findings"]]
    assert heads == [
        "shop/billing is down",
        "shop/mails is read by nobody",
        "shop/orders is full",
        "the clock of the server was set back",
    ]
    commands = [each for every in found["findings"] for each in every["lines"] if each["command"]]
    assert commands == [
        {"command": "runnel worker MODULE:APP --redis-url redis://h:6379", "text": ""},
        {
            "command": "runnel inspect MODULE:APP --redis-url redis://h:6379",
            "text": "compares this with the code",
        },
        {
            "command": "runnel worker MODULE:APP --redis-url redis://h:6379 --processors billing",
            "text": "if it is to run",
        },
        {
            "command": "runnel inspect MODULE:APP --redis-url redis://h:6379",
            "text": "whether the code has it",
        },
        {
            "command": "runnel processor remove orders@billing --app shop "
            "--redis-url redis://h:6379",
            "text": "if it is gone for good",
        },
        {
            "command": "runnel doctor --redis-url redis://h:6379",
            "text": "compares it with the clock of this machine",
        },
    ]
    assert found["streams"] == {
        "shop/orders": "full, ahead of the clock",
        "shop/mails": "read by nobody",
    }
    terminal = view.lines(seen, "redis://h:6379", WITHOUT)
    said = [click.unstyle(line).strip() for line in terminal]
    for each in found["findings"]:
        assert each["head"] in said
        for line in each["lines"]:
            text = f"   # {line['text']}" if line["command"] and line["text"] else line["text"]
            assert f"{line['command'] or ''}{text}" in said


def test_many_lines_and_many_findings_are_counted() -> None:
    rows = [partition(number, state="quarantined", error=ERROR) for number in range(1000)]
    seen = report("degraded", *rows)
    (found,) = page.Words(URL, WITHOUT).of_report(seen)["findings"]
    texts = [each["text"] for each in found["lines"] if each["command"] is None]
    assert texts[page.MOST_LINES - 1].startswith("partition 7 is quarantined")
    assert texts[page.MOST_LINES] == "… and 992 more lines: runnel inspect --all has them"
    assert texts[-1].startswith("see docs/runbooks.md#a-partition-is-quarantined")
    assert [each["command"] for each in found["lines"] if each["command"]] == [
        "runnel inspect shop/orders@billing --redis-url redis://h:6379 0",
        "runnel processor resume shop/orders@billing --redis-url redis://h:6379",
    ]
    several = report("down")
    several["processors"] = 100 * several["processors"]
    found = page.Words(URL, WITHOUT).of_report(several)
    assert (len(found["findings"]), found["more_findings"]) == (page.MOST_FINDINGS, 70)


def test_a_partition_is_told_with_its_state_its_event_and_what_to_type() -> None:
    event = {
        "id": "1795435471200-0",
        "failed": True,
        "gone": False,
        "at": "2026-11-23T12:04:31.200Z",
        "key": "42",
        "headers": {},
        "record": {"order_id": 42, "note": "x" * 1000},
    }
    row = partition(7, state="quarantined", error=ERROR, attempts=4)
    seen = looked_at(row, event=event, traceback='  File "shop.py", line 3\nValueError: no price')
    found = page.Words(URL, CODE).of_partition(seen)
    assert found["title"] == "shop/billing partition 7"
    assert (found["state"], found["why"]) == partition_view.in_words(
        seen["processors"][0], row, seen["partition"]
    )
    assert found["to_do"][1] == {
        "command": "runnel processor resume example:billing --partition 7",
        "text": "--skip skips the failed event",
    }
    texts = [each["text"] for each in found["facts"]]
    assert '  File "shop.py", line 3' in texts
    assert "".join(texts).count("x") == 1000
    shown = [each["command"] for each in found["facts"] if each["command"]]
    assert shown == ["runnel show example:app 7 1795435471200-0 --stream orders"]


def test_an_event_that_cannot_be_decoded_is_told_by_what_its_entry_says() -> None:
    event = {
        "id": "1795435471200-0",
        "failed": True,
        "gone": False,
        "at": None,
        "key": None,
        "headers": {},
        "unreadable": "no JSON",
        "fields": {"json": "{"},
    }
    seen = looked_at(partition(0, failing=True, error=ERROR), event=event)
    texts = [each["text"] for each in page.Words(URL, WITHOUT).of_partition(seen)["facts"]]
    assert "it cannot be decoded: no JSON" in texts
    assert '{"json": "{"}' in texts
