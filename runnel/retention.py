"""How long the events of a stream stay, as its declaration says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from runnel.settings import check

#: What happens to the events of a stream that nobody reads: they stay, or the oldest make room.
Retain = Literal["always", "until_full"]


@dataclass(frozen=True, slots=True)
class Retention:
    """`max_age_ms` is the age in ms from which committed events leave, 0 for none. `when_full` is
    what scripts do with a full partition: "refuse" or "drop_unread"."""

    max_age_ms: int = 0
    when_full: str = "refuse"

    @property
    def retain(self) -> Retain:
        """What is declared for a stream that nobody reads."""
        return "always" if self.when_full == "refuse" else "until_full"

    @classmethod
    def of(cls, where: str, max_age: float | timedelta | None, retain: Retain) -> Retention:
        """The retention that a declaration asks for. `where` is that, for people, such as
        ``stream orders``. Raises ConfigError, which names the keyword and what it may be."""
        if isinstance(max_age, timedelta):
            max_age = max_age.total_seconds()
        ms = 0 if max_age is None else round(1000 * check(where, "max_age", max_age))
        unread = check(where, "retain", retain) == "until_full"
        return cls(ms, "drop_unread" if unread else "refuse")
