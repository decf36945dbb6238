"""What the registry says of a stream. Needs no code of an app."""

from __future__ import annotations

from typing import NamedTuple

from runnel.retention import Retention


class Entry(NamedTuple):
    """What the registry says of a stream. Its size and retention are those that a worker or an
    operator declared last; None if they are unknown."""

    partition_count: int
    source: str
    partition_size: int | None = None
    retention: Retention | None = None

    @classmethod
    def read(cls, text: str) -> Entry:
        """The entry with this text."""
        count, source, *rest = text.split(" ")
        if len(rest) != 3 or not (rest[0].isdecimal() and rest[1].isdecimal()):
            return cls(int(count), source)
        when_full = "drop_unread" if rest[2] == "until_full" else "refuse"
        return cls(int(count), source, int(rest[0]), Retention(int(rest[1]), when_full))

    def text(self) -> str:
        """The text of a declared stream in the registry."""
        kept = self.retention or Retention()
        return (
            f"{self.partition_count} {self.source} {self.partition_size} {kept.max_age_ms} "
            f"{kept.retain}"
        )
