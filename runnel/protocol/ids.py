"""Ids of stream entries, and how they compare."""

from __future__ import annotations

#: Kafka's name of an end of a log -> the argument of a script.
ENDS = {"earliest": "0", "latest": "$"}


def parts(id_: str) -> tuple[int, int]:
    """Milliseconds and sequence number of an id."""
    ms, _, sequence = id_.partition("-")
    return int(ms), int(sequence or 0)


def reached(id_: str, target: str) -> bool:
    """Is `id_` equal to `target`, or after it in the log?"""
    return parts(id_) >= parts(target)
