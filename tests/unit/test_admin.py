"""Where a processor is reset to: an end of the log, an id, or a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runnel.errors import ConfigError
from runnel.operations.admin import start_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", "0"),
        ("0", "0"),
        ("latest", "$"),
        ("$", "$"),
        ("1795435471123-7", "1795435471123-7"),
        ("1795435471123", "1795435471123-0"),
        ("123456789-18446744073709551615", "123456789-18446744073709551615"),
        ("2026-11-24T03:00:00Z", "1795489200000-0"),
        ("2026-11-24T04:00:00+01:00", "1795489200000-0"),
        ("2026-11-24T03:00:00.250", "1795489200250-0"),
        ("2026-11-24", "1795478400000-0"),
        ("20261124", "1795478400000-0"),
        ("1970-01-01", "0"),
        ("1969-12-31T23:59", "0"),
        ("0001-01-01", "0"),
    ],
)
def test_a_start_is_an_id_of_the_server(text: str, expected: str) -> None:
    assert start_id(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-1", "1-0", "1795435471123-", "1795435471123-x", "1795435471123-0 "),
        *("18446744073709551616", "1795435471123-18446744073709551616"),
        *("2026-13-01", "١٧٩٥٤٣٥٤٧١١٢٣"),
    ],
)
def test_what_is_no_start_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(ConfigError, match="is none of: earliest"):
        start_id(text)


def test_a_time_in_the_future_is_refused() -> None:
    now = datetime.now(UTC)
    with pytest.raises(ConfigError, match="is in the future: for the next new event, give latest"):
        start_id((now + timedelta(minutes=1)).isoformat(), now)
    assert start_id(now.isoformat(), now) == start_id(now.isoformat())
