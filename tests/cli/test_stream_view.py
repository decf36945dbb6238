"""What is said of a stream and of a trim: unknown values, singular and plural."""

from __future__ import annotations

from typing import Any

from runnel.cli import stream_view
from runnel.operations.stream_admin import Trimmed

UNKNOWN: dict[str, Any] = {
    "app": "shop",
    "name": "lost",
    "source": "orders",
    "partition_count": 1,
    "partition_size": None,
    "max_age_ms": None,
    "retain": None,
    "hash": None,
    "protocol": None,
    "length": None,
    "bytes": None,
    "oldest_ms": None,
    "readers": [],
    "partitions": [
        {"id": 0, "length": None, "bytes": None, "oldest_ms": None, "first": None, "last": "0-0"}
    ],
}


def test_what_is_unknown_has_a_question_mark() -> None:
    lines = stream_view.lines(UNKNOWN)
    assert lines[0] == "shop/lost, derived from orders"
    assert lines[1:5] == [
        "  partitions  1 of ? events",
        "  hash        ?, protocol ?",
        "  max_age     ?",
        "  retain      ?",
    ]
    assert "nobody reads it: its events stay, unless it is declared otherwise" in lines
    assert stream_view.rows([UNKNOWN])[1].split() == ["shop/lost", "1", "?", "?", "?", "?", "-"]


def test_what_stays_is_said_for_each_reason() -> None:
    done = Trimmed({0: 1, 1: 0, 2: 0, 3: 0}, kept_for={1: "-", 2: "bill", 3: "bill"})
    assert stream_view.trimmed("orders", done, True) == [
        "removed 1 event of orders from partition 0",
        "more stays in partition 1, because nobody reads the stream (retain always)",
        "more stays in partitions 2-3: processor bill has not committed it",
    ]
    assert stream_view.as_json("orders", done, True)["partitions"][2] == {
        "id": 2,
        "removed": 0,
        "kept_for": "bill",
    }
