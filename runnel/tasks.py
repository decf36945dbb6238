"""`Task`, `Timer` and `Crontab`: functions that a worker runs besides processors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from runnel.errors import ConfigError

Function = Callable[[], Awaitable[Any]]

#: Seconds for which a missed instant of a crontab can still run.
CATCH_UP = 3600.0

#: Bytes of an expression with its zone, the most that the script `tick` accepts.
_LONGEST = 200

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


@dataclass
class Task:
    """A function that a worker runs besides its processors.

    With `on_leader`, only the app's leader runs it. That is best effort: for up to a session
    timeout, two workers may both lead. `failures` counts its exceptions in this process.
    """

    name: str
    function: Function
    on_leader: bool
    failures: int = 0


@dataclass
class Timer(Task):
    """A task that runs every `interval` seconds, counted from the end of a run to the start of the
    next one, so that runs never overlap."""

    interval: float = 1.0


@dataclass
class Crontab(Task):
    """A task that runs by a cron expression, in a time zone.

    With `on_leader`, an instant runs at most once per app. The latest instant that was missed runs
    later, if it is at most `catch_up` seconds old. Of the instants during another run, only the
    latest runs later.
    """

    spec: str = ""
    zone: tzinfo = UTC
    catch_up: float = CATCH_UP

    @property
    def schedule(self) -> str:
        """The expression and its zone in one line."""
        return f"{self.spec} {self.zone}"

    def instants(self, after: datetime) -> Iterator[datetime]:
        """The scheduled instants after a moment, in UTC.

        In a repeated hour, cronsim starts with the first occurrence, which may be over.
        """
        for instant in CronSim(self.spec, after.astimezone(self.zone)):
            utc = instant.astimezone(UTC)
            if utc > after:
                yield utc

    def latest(self, now: datetime, seconds: float) -> datetime | None:
        """The last instant in the `seconds` up to `now`, None if there is none.

        Searches in growing intervals, because there may be an instant every second.
        """
        back = min(60.0, seconds)
        while True:
            instants = self.instants(now - timedelta(seconds=back))
            found = list(takewhile(lambda instant: instant <= now, instants))
            if found or back >= seconds:
                return found[-1] if found else None
            back = min(back * 10, seconds)


def check_cron(spec: str, timezone: str, on_leader: bool = False) -> tuple[str, tzinfo]:
    """The expression without aliases, and the zone. Raises ConfigError if either is wrong."""
    if not isinstance(spec, str) or not isinstance(timezone, str):
        raise ConfigError(
            f"a crontab takes its expression and the name of its time zone as text, not {spec!r} "
            f"and {timezone!r}"
        )
    plain = _ALIASES.get(spec, spec)
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(f"there is no time zone {timezone!r}: use one such as UTC") from error
    try:
        instant = next(CronSim(plain, datetime.now(zone)), None)
    except CronSimError as error:
        raise ConfigError(
            f"{spec!r} is no cron expression ({error}): use five fields such as '30 2 * * *', or "
            f"one of {', '.join(_ALIASES)}"
        ) from error
    if on_leader and len(f"{plain} {zone}".encode()) > _LONGEST:
        raise ConfigError(
            f"a crontab with on_leader has at most {_LONGEST} bytes, with its zone: {spec!r} is "
            "longer; write ranges and steps such as 0-59/5, or declare several"
        )
    if instant is None:
        raise ConfigError(f"{spec!r} names a day that does not exist, so it would never run")
    return plain, zone
