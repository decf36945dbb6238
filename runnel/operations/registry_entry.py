"""What the registry says of a stream. Needs no code of an app."""

from __future__ import annotations

from typing import NamedTuple

from runnel import keys
from runnel.errors import ConfigError
from runnel.retention import Retention

#: As the scripts have it.
MOST_PARTITIONS = 10_000


class Entry(NamedTuple):
    """What the registry says of a stream. Its size and retention are those that a worker or an
    operator declared last; None if they are unknown."""

    partition_count: int
    source: str
    partition_size: int | None = None
    retention: Retention | None = None

    @classmethod
    def read(cls, text: str, app: str, stream: str) -> Entry:
        """The entry of a stream with this text. Raises ConfigError for one that no client of
        Runnel has written."""
        words = text.split(" ")
        if len(words) < 2 or not _is_count(words[0]):
            expected = "its partition count and its source, as in 8 orders"
            raise _unreadable(text, keys.streams(app), stream, expected)
        count, source, *rest = words
        if len(rest) != 3 or not (_is_number(rest[0]) and _is_number(rest[1])):
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


def read_count(text: str, app: str, field: str) -> int:
    """The partition count of a registered processor, ``STREAM@NAME``. Raises ConfigError for one
    that no client of Runnel has written."""
    if not _is_count(text):
        raise _unreadable(text, keys.processors(app), field, "its partition count, as in 8")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _is_count(text: str) -> bool:
    return _is_number(text) and int(text) <= MOST_PARTITIONS


def _unreadable(text: str, key: str, field: str, expected: str) -> ConfigError:
    return ConfigError(
        f"the registry has {text[:80]!r} for {field}, which is not {expected}: a worker writes it "
        f"anew when it starts; to forget it, HDEL {key} {field}"
    )
