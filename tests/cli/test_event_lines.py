"""Events are written so that nothing of them is lost, and no terminal is harmed."""

from __future__ import annotations

import json

from runnel.cli.event_lines import as_json, as_text, printable

EVENT = {
    "stream": "orders",
    "partition": 4,
    "id": "5-0",
    "at": "1970-01-01T00:00:00.005Z",
    "key": b"a b",
    "headers": {},
    "record": {"text": "zwei  Wörter"},
}


def test_a_line_has_time_partition_id_key_record_and_headers() -> None:
    line = '1970-01-01T00:00:00.005Z  4 5-0  a b  {"text": "zwei  Wörter"}'
    assert as_text(EVENT) == line
    assert as_text({**EVENT, "headers": {"trace": "7", "n": ""}}) == f"{line}  trace=7 n="
    assert "  -  {" in as_text({**EVENT, "key": None})
    assert as_text({**EVENT, "at": None}).startswith("-  4 5-0")


def test_an_event_that_cannot_be_decoded_has_its_fields_and_the_reason() -> None:
    broken = {**EVENT, "key": None, "unreadable": "why", "fields": {"a": "b"}}
    del broken["record"]
    assert as_text(broken).endswith('  5-0  -  (why) {"a": "b"}'.removeprefix("  "))


def test_json_is_one_line_and_has_the_key_as_text() -> None:
    assert json.loads(as_json(EVENT)) == {**EVENT, "key": "a b"}
    other = json.loads(as_json({**EVENT, "key": b"\xff"}))
    assert other["key_base64"] == "/w=="
    assert "key" not in other


def test_what_a_terminal_would_obey_is_escaped() -> None:
    hostile = as_text({**EVENT, "record": "\x9b2J\u202e\x1b[", "headers": {"a\n": "\x1b]0;"}})
    assert hostile.isprintable()
    assert printable("a  b\n\x9b") == "a  b\\n\\x9b"
