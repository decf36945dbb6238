"""Ids of stream entries, in the order Redis gives them."""

from __future__ import annotations

#: What Kafka calls the two ends of a log -> what a script takes.
ENDS = {"earliest": "0", "latest": "$"}


def parts(id_: str) -> tuple[int, int]:
    """Milliseconds and sequence number."""
    ms, _, sequence = id_.partition("-")
    return int(ms), int(sequence or 0)


def reached(id_: str, target: str) -> bool:
    """Is `id_` at or behind `target` in the log's order?"""
    return parts(id_) >= parts(target)
