"""How long the events of a stream stay, as its declaration says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
