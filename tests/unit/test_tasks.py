"""When cron tasks are due: by the clock of their zone, and never for a time that has passed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel import App
from runnel.errors import ConfigError
from runnel.tasks import Crontab, check_cron


async def nothing() -> None: ...


def crontab(spec: str, zone: str) -> Crontab:
    plain, found = check_cron(spec, zone)
    return Crontab("work", nothing, on_leader=False, spec=plain, zone=found)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}Z")


@pytest.mark.parametrize(
    ("spec", "zone", "after", "due"),
    [
        # The hour from two to three comes twice. A fixed time fires the first time round.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:29:59", "2026-10-25T00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15", "2026-10-26T01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:29:50", "2026-10-26T01:30"),
        ("5 1 * * *", "America/New_York", "2026-11-01T06:01", "2026-11-02T06:05"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T15:05", "2026-04-05T15:15"),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:15", "2026-10-25T01:30"),
        # An hour is left out: what falls into it fires right behind.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:59:50", "2026-03-29T01:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00", "2026-03-30T00:30"),
    ],
)
def test_the_next_instant_where_the_clocks_change(
    spec: str, zone: str, after: str, due: str
) -> None:
    assert next(crontab(spec, zone).instants(utc(after))) == utc(due)


SPECS = ["30 2 * * *", "0 * * * *", "*/20 * * * *", "15,45 1,2,3 * * *", "0 0 1 * *", "0 2 * * 0"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]


@given(
    spec=st.sampled_from(SPECS),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    restarts=st.lists(st.floats(0, 1), max_size=4),
)
def test_restarts_add_no_instant(
    spec: str, zone: str, start: datetime, restarts: list[float]
) -> None:
    task, begin = crontab(spec, zone), start.replace(tzinfo=UTC)
    whole = list(islice(task.instants(begin), 6))
    assert whole == sorted(set(whole))
    assert whole[0] > begin
    for share in restarts:
        again = begin + (whole[-1] - begin) * share
        rest = list(islice(task.instants(again), 3))
        assert rest[0] > again
        assert set(rest[: sum(each > again for each in whole)]) <= set(whole)


@given(
    spec=st.sampled_from(SPECS),
    zone=st.sampled_from(ZONES),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    seconds=st.sampled_from([0.0, 59.0, 3600.0, 86_400.0, 3_000_000.0]),
)
def test_the_latest_instant_is_found_however_far_it_lies_back(
    spec: str, zone: str, now: datetime, seconds: float
) -> None:
    task, moment = crontab(spec, zone), now.replace(tzinfo=UTC)
    since, every = moment - timedelta(seconds=seconds), []
    for instant in task.instants(since):
        if instant > moment:
            break
        every.append(instant)
    assert task.latest(moment, seconds) == (every[-1] if every else None)


@pytest.mark.parametrize(
    ("spec", "timezone", "says"),
    [
        ("61 * * * *", "UTC", "61"),
        ("* *", "UTC", "five fields"),
        ("@daily", "Mars", "Mars"),
        ("0 0 30 2 *", "UTC", "day"),
    ],
)
def test_a_wrong_schedule_is_refused_when_it_is_declared(
    spec: str, timezone: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check_cron(spec, timezone)


def test_a_schedule_that_redis_would_not_take_is_refused_when_it_is_declared(
    app_name: str,
) -> None:
    spec = f"{','.join(map(str, range(60)))} {','.join(map(str, range(24)))} * * *"
    app = App(app_name)
    app.crontab(spec)(nothing)  # Without a leader, the schedule is not stored.
    with pytest.raises(ConfigError, match="on_leader has at most 200 bytes"):
        app.crontab(spec, on_leader=True)
