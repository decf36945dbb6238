"""Events that are sent with a time: when they are due, and the receipt for one that waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import NamedTuple

from runnel.errors import ConfigError
from runnel.log import logger_of

logger = logger_of("runnel.delayed")

#: The longest time that an event may wait. The script refuses more, too.
MAX_DELAY = timedelta(days=366)


class Delayed(NamedTuple):
    """The receipt for an event that waits: where, until when, and the `id` by which
    `Stream.cancel` finds it. It is not the id that the event gets in the log."""

    partition: int
    id: str
    due: datetime

    @classmethod
    def of(cls, partition: int, due_ms: int, order: int) -> Delayed:
        """From the reply of the script."""
        return cls(partition, f"{due_ms}-{order}", datetime.fromtimestamp(due_ms / 1000, UTC))

    def parts(self) -> tuple[int, int]:
        """The due time in ms since 1970, and the order number. Raises ConfigError."""
        due, _, order = self.id.partition("-")
        if not (due.isascii() and due.isdigit() and order.isascii() and order.isdigit()):
            raise ConfigError(
                f"{self.id!r} is no id of a delayed event: it has the form "
                "1795877224744-1795877164744123"
            )
        return int(due), int(order)


class Due(NamedTuple):
    """When events are due, as the script takes it: `kind` is at or delay, `ms` the time."""

    kind: str
    ms: int


def due_of(at: object, delay: object) -> Due:
    """When a send with `at` or `delay` is due. Raises ConfigError."""
    if at is not None and delay is not None:
        raise ConfigError("send takes at=… or delay=…, not both")
    if at is not None:
        return _at(at)
    if isinstance(delay, timedelta):
        seconds = delay.total_seconds()
    elif isinstance(delay, (int, float)) and not isinstance(delay, bool) and isfinite(delay):
        seconds = float(delay)
    else:
        raise ConfigError(f"send(delay=…) takes seconds or a timedelta, not {delay!r}")
    if seconds < 0:
        raise ConfigError(f"send(delay=…) takes 0 or more seconds, not {seconds:g}")
    if seconds > MAX_DELAY.total_seconds():
        raise ConfigError(f"send(delay=…) takes at most {MAX_DELAY.days} days, not {delay!r}")
    return Due("delay", round(seconds * 1000))


def no_time(what: str, options: Mapping[str, object], instead: str) -> None:
    """Raise ConfigError for `at` and `delay`, and TypeError for other options: it takes none."""
    for name in options:
        if name not in ("at", "delay"):
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}")
        raise ConfigError(f"{what}(…) takes no {name}=…: {instead}")


def _at(at: object) -> Due:
    if not isinstance(at, datetime):
        raise ConfigError(f"send(at=…) takes a datetime with a time zone, not {at!r}")
    if at.utcoffset() is None:
        raise ConfigError(
            f"send(at=…) takes a datetime with a time zone, and {at.isoformat()} has none: give "
            "datetime(…, tzinfo=UTC), or datetime.now(UTC) + timedelta(…)"
        )
    if at > datetime.now(UTC) + MAX_DELAY:
        raise ConfigError(
            f"send(at=…) takes a time in the next {MAX_DELAY.days} days, not {at.isoformat()}"
        )
    return Due("at", max(0, int(at.timestamp() * 1000)))


def log_lost(stream: str, partition: int, lost: int) -> None:
    """Log that delayed events of a partition have disappeared. Each is counted once."""
    logger.error(
        "stream %s, partition %d: %d delayed event%s LOST: Redis does not have what was sent, or "
        "it cannot be read",
        stream,
        partition,
        lost,
        " was" if lost == 1 else "s were",
        extra={"partition": partition},
    )
