"""Lines of commands, good and bad."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runnel.conformance.contract import (
    Done,
    Item,
    Sent,
    environment,
    id_text,
    parse_id,
    read_done,
    read_sent,
)
from runnel.conformance.trials import TRIALS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/conformance.md").read_text()
DONE = {"partition": 1, "id": "5-0", "record": {"key": "a"}}
SENT = {"key": "a", "number": 1, "id": "5-0"}


def test_good_lines() -> None:
    assert read_done(json.dumps(DONE).encode()) == Done(1, (5, 0), {"key": "a"})
    assert read_sent(json.dumps(SENT).encode()) == Sent("a", 1, (5, 0))
    given_up = json.dumps({"key": "a", "number": 1, "error": "no answer"}).encode()
    assert read_sent(given_up) == Sent("a", 1, None, "no answer")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *zip(6 * ["partition"], (None, "1", 4, -1, True, 1.0), strict=True),
        *zip(6 * ["id"], (None, 5, "", "x", "5-x", []), strict=True),
        *zip(3 * ["record"], (None, "a", []), strict=True),
    ],
)
def test_bad_lines_of_workers(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be"):
        read_done(json.dumps(DONE | {field: value}).encode())


@pytest.mark.parametrize(
    ("field", "value"), [("key", 1), ("key", None), ("number", "1"), ("number", True), ("id", 5)]
)
def test_bad_lines_of_producers(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be|key must be"):
        read_sent(json.dumps(SENT | {field: value}).encode())


@pytest.mark.parametrize("line", [b"{", b"{}}", b"[]", b"{\xff}"])
def test_lines_that_are_no_objects(line: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        read_done(line)


def test_ids() -> None:
    assert parse_id("18446744073709551615-7") == (18446744073709551615, 7)
    assert id_text((5, 1)) == "5-1"


def test_the_page_shows_lines_that_the_kit_takes() -> None:
    record, done, failed, sent, given_up = re.findall(r"^```json\n(.*)\n```", PAGE, re.M)
    item = Item.model_validate_json(record)
    assert read_done(done.encode()).record == item.model_dump(exclude_unset=True)
    assert read_done(failed.encode()) == Done(0, (1795546487633, 0), {}, failed=True)
    assert read_sent(sent.encode()) == Sent("k-3", 17, (1795546487633, 0))
    assert read_sent(given_up.encode()) == Sent("k-3", 17, None, "no answer for 10 s")


def test_the_page_has_every_variable_and_every_trial() -> None:
    assert not [each for each in environment("u", 1.5, "m") if f"| `{each}` |" not in PAGE]
    rows = "".join(f"| `{each.name}` | {each.does} |\n" for each in TRIALS.values())
    assert rows in PAGE


@pytest.mark.parametrize("name", ["worker", "producer"])
def test_the_page_shows_the_example_as_it_is(name: str) -> None:
    assert (ROOT / f"clients/typescript/conformance/{name}.mjs").read_text() in PAGE
