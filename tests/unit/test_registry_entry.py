"""The text of a stream in the registry."""

from __future__ import annotations

import pytest

from runnel.operations.registry_entry import Entry
from runnel.retention import Retention


@pytest.mark.parametrize("retention", [Retention(), Retention(90_000, "drop_unread")])
def test_an_entry_is_read_as_it_was_written(retention: Retention) -> None:
    entry = Entry(16, "orders", 50_000, retention)
    assert Entry.read(entry.text()) == entry


@pytest.mark.parametrize(
    "text", ["16 orders", "16 orders x 0 always", "16 orders 50000 0 always more"]
)
def test_what_an_entry_does_not_say_is_unknown(text: str) -> None:
    assert Entry.read(text) == Entry(16, "orders", None, None)
