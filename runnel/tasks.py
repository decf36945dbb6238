"""Tasks beside processors: run once, every so often, or by the calendar."""

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

#: Seconds for which an instant of a crontab is made up for when nobody fired it.
CATCH_UP = 3600.0

#: Bytes of an expression and its zone, as the script `tick` allows.
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

    With `on_leader` only the app's leader runs it, which is best effort: two workers may think that
    they lead for up to a session. `failures` counts what it raised in this process.
    """

    name: str
    function: Function
    on_leader: bool
    failures: int = 0


@dataclass
class Timer(Task):
    """Runs every `interval` seconds, counted from the end of one run to the start of the next, so
    that it never overlaps itself."""

    interval: float = 1.0


@dataclass
class Crontab(Task):
    """Runs when its cron expression says so, in a time zone.

    With `on_leader`, an instant fires at most once per app, whoever leads; the latest one that
    nobody fired is made up for if it is at most `catch_up` seconds old. Of instants that were
    missed while another run went on, only the latest is made up for.
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

        Inside an hour that comes twice, cronsim begins with the first time round, which is over.
        """
        for instant in CronSim(self.spec, after.astimezone(self.zone)):
            utc = instant.astimezone(UTC)
            if utc > after:
                yield utc

    def latest(self, now: datetime, seconds: float) -> datetime | None:
        """The last instant of so many seconds up to `now`, if there was any.

        Looks back further and further: there may be an instant every second.
        """
        back = min(60.0, seconds)
        while True:
            instants = self.instants(now - timedelta(seconds=back))
            found = list(takewhile(lambda instant: instant <= now, instants))
            if found or back >= seconds:
                return found[-1] if found else None
            back = min(back * 10, seconds)


def check_cron(spec: str, timezone: str, on_leader: bool = False) -> tuple[str, tzinfo]:
    """The plain expression and the zone. Raises ConfigError if either is wrong."""
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
        raise ConfigError(f"{spec!r} names no day that there is, so it would never run")
    return plain, zone
