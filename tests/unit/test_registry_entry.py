"""The text of a stream in the registry."""

from __future__ import annotations

import pytest

from runnel.errors import ConfigError
from runnel.operations.registry_entry import Entry, read_count
from runnel.retention import Retention


@pytest.mark.parametrize("retention", [Retention(), Retention(90_000, "drop_unread")])
def test_an_entry_is_read_as_it_was_written(retention: Retention) -> None:
    entry = Entry(16, "orders", 50_000, retention)
    assert Entry.read(entry.text(), "shop", "orders") == entry


@pytest.mark.parametrize(
    "text", ["16 orders", "16 orders x 0 always", "16 orders 50000 0 always more"]
)
def test_what_an_entry_does_not_say_is_unknown(text: str) -> None:
    assert Entry.read(text, "shop", "orders") == Entry(16, "orders", None, None)


@pytest.mark.parametrize(
    "text", ["", "16", "many orders", "-1 orders", "10001 orders", "١ orders", "\\xff 1"]
)
def test_what_is_no_entry_is_refused_with_the_command_that_removes_it(text: str) -> None:
    with pytest.raises(ConfigError, match=r"for orders, which is not .* HDEL .*shop.* orders$"):
        Entry.read(text, "shop", "orders")


def test_what_is_no_count_is_refused_with_the_command_that_removes_it() -> None:
    assert read_count("16", "shop", "orders@bill") == 16
    for text in ("", "16 orders", "10001", "1" * 20):
        with pytest.raises(ConfigError, match=r"for orders@bill, .* HDEL .*shop.* orders@bill$"):
            read_count(text, "shop", "orders@bill")
