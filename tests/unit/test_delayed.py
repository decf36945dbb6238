"""When a send is due, and the receipts of events that wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from runnel.delayed import MAX_DELAY, Delayed, Due, due_of, log_lost
from runnel.errors import ConfigError


@pytest.mark.parametrize(
    ("delay", "ms"),
    [(0, 0), (1.5, 1500), (timedelta(minutes=1), 60_000), (0.0004, 0), (MAX_DELAY, 31_622_400_000)],
)
def test_a_delay_is_seconds_or_a_timedelta(delay: Any, ms: int) -> None:
    assert due_of(None, delay) == Due("delay", ms)


@pytest.mark.parametrize(
    ("delay", "says"),
    [
        (-1, "0 or more seconds"),
        (timedelta(seconds=-1), "0 or more seconds"),
        (float("nan"), "seconds or a timedelta"),
        (float("inf"), "seconds or a timedelta"),
        (True, "seconds or a timedelta"),
        ("60", "seconds or a timedelta"),
        (MAX_DELAY + timedelta(seconds=1), "at most 366 days"),
        (1e300, "at most 366 days"),
    ],
)
def test_another_delay_is_refused(delay: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        due_of(None, delay)


def test_a_time_has_a_time_zone_and_is_not_far_away() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert due_of(at, None) == Due("at", 1_767_261_600_000)
    assert due_of(datetime.fromtimestamp(0, UTC) - timedelta(days=1), None) == Due("at", 0)
    with pytest.raises(ConfigError, match="has none: give"):
        due_of(at.replace(tzinfo=None), None)
    with pytest.raises(ConfigError, match="next 366 days"):
        due_of(datetime.now(UTC) + timedelta(days=367), None)
    with pytest.raises(ConfigError, match="a datetime"):
        due_of("2026-01-01", None)


def test_both_are_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        due_of(datetime.now(UTC), 5)


def test_a_receipt_has_what_cancel_needs() -> None:
    receipt = Delayed.of(3, 1_767_261_600_250, 1_767_261_500_000_001)
    assert receipt.due == datetime(2026, 1, 1, 10, 0, 0, 250_000, tzinfo=UTC)
    assert receipt.parts() == (1_767_261_600_250, 1_767_261_500_000_001)
    for junk in ("", "5", "5-x", "x-5", "-1-5", "٣-5"):
        with pytest.raises(ConfigError, match="no id of a delayed event"):
            receipt._replace(id=junk).parts()


def test_a_loss_names_the_partition(caplog: pytest.LogCaptureFixture) -> None:
    log_lost("orders", 3, 2)
    assert "stream orders, partition 3: 2 delayed events were LOST" in caplog.text
