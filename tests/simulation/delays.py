"""Delayed events, as the model of the simulator keeps and promotes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulation.additions import add, entries_in
from tests.simulation.removals import Removal, plan_trim
from tests.simulation.stored import Fields, Log, Partition, Refused

#: What one call of `promote` moves at most.
_MOST, _MOST_BYTES = 200, 1_000_000


def member(order: int, fields: Fields) -> bytes:
    """The member of the sorted set for an event."""
    lengths = " ".join(str(len(each)) for each in fields)
    return f"{order:016d} {lengths}\n".encode() + b"".join(fields)


def stored(partition: Partition) -> list[tuple[bytes, int]]:
    """Members and due times, in the order of the sorted set."""
    ordered = sorted((due, order) for order, (due, _) in partition.delayed.items())
    return [(member(order, partition.delayed[order][1]), due) for due, order in ordered]


def overdue(partition: Partition, now: int) -> bool:
    """Must an append wait for events that are due?"""
    due = partition.meta.get("delayed_due")
    return due is not None and int(due) <= now


def append_later(partition: Partition, key: str, args: list[Any], now: int) -> tuple[int, ...]:
    size, kind, ms, _ = args[3:7]
    entries = entries_in(args[7:])
    meta = partition.meta
    due = now + int(ms) if kind == "delay" else max(now, int(ms))
    if before := partition.requests.get(key):
        known, mark = before
        if meta.get("dedupe") == mark:
            return 0, *known
    if len(partition.delayed) + len(entries) > int(size):
        raise Refused("FULL")
    first = max(int(meta.get("delayed_last", 0)) + 1, now * 1000)
    for order, fields in enumerate(entries, first):
        partition.delayed[order] = partition.delayed_ever[order] = due, fields
    next_due = int(meta.get("delayed_due", due))
    meta.update(
        delayed_last=str(first + len(entries) - 1),
        delayed_due=str(min(due, next_due)),
        delayed=str(int(meta.get("delayed", 0)) + len(entries)),
    )
    known = (due, first, len(entries))
    partition.requests[key] = known, meta.setdefault("dedupe", str(now))
    return 1, *known


def moved_by(partition: Partition, args: list[Any], now: int) -> tuple[int, Removal]:
    """How many events the next `promote` moves, and what it drops. Raises Refused."""
    size, policy = int(args[3]), args[4]
    number = used = 0
    for text, due in stored(partition):
        if due > now or number == _MOST or used >= _MOST_BYTES:
            break
        number, used = number + 1, used + len(text)
    if not number:
        return 0, Removal()
    try:
        return number, plan_trim(partition, args[3], number, policy, now)
    except Refused:
        room = size - len((partition.log or Log()).entries)
        if room > 0:
            return min(number, room), Removal()
        return 1, plan_trim(partition, args[3], 1, policy, now)


def promote(
    partition: Partition, args: list[Any], now: int, added: Sequence[str]
) -> tuple[int, int, int, int]:
    meta = partition.meta
    counted = int(meta.get("delayed", 0))
    if not partition.delayed and not counted and "delayed_due" not in meta:
        return 0, 0, -1, 0
    lost = max(0, counted - len(partition.delayed))
    number, removal = moved_by(partition, args, now)
    ordered = sorted(partition.delayed, key=lambda order: (partition.delayed[order][0], order))
    if number:
        for name, value in zip(("protocol", "partitions", "hash"), args, strict=False):
            meta.setdefault(name, value)
        entries = [partition.delayed.pop(order)[1] for order in ordered[:number]]
        add(partition, entries, added, removal)
    if lost:
        meta["delayed_lost"] = str(int(meta.get("delayed_lost", 0)) + lost)
    for name in ("delayed", "delayed_due"):
        meta.pop(name, None)
    if not partition.delayed:
        return number, 0, -1, lost
    due = min(due for due, _ in partition.delayed.values())
    meta.update(delayed=str(len(partition.delayed)), delayed_due=str(due))
    return number, len(partition.delayed), max(0, due - now), lost


def cancel(partition: Partition, args: list[Any]) -> int:
    due, order = map(int, args)
    if partition.delayed.get(order, (None,))[0] != due:
        return 0
    del partition.delayed[order]
    meta = partition.meta
    meta["delayed"] = str(max(0, int(meta.get("delayed", 0)) - 1))
    meta.pop("delayed_due", None)
    if partition.delayed:
        meta["delayed_due"] = str(min(each for each, _ in partition.delayed.values()))
    return 1
