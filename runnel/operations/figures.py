"""Computes the rows and states of `inspect` from the replies of Redis. No I/O.

A value that is unknown is None, never 0, and makes its total None.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runnel.protocol import (
    GroupDescription,
    InHandCount,
    MemberInHand,
    PartitionDescription,
    read_in_hand,
)
from runnel.protocol.ids import parts, reached

Json = dict[str, Any]

#: The name of what has no room, where other commits have that of a stream.
PARKED = "its parked events"

#: Milliseconds for which a failure without an event counts if it does not happen again: longer than
#: the pause between two tries.
_RECENT = 90_000
#: Milliseconds by which an id may be ahead of the server's clock and still show when it was added.
_SKEW = 1_000
#: Milliseconds for which a delayed event may be due until something holds it up: a full log, or
#: nobody who promotes.
OVERDUE_AFTER = 5_000
#: Unclean tenures in a row on one partition that count as failing: one may have any reason.
_TENURES = 2


def failed_before_first(event: str | None, checkpoint: str | None) -> bool:
    """Did the handler fail before its first event? Then the failure is stored with the checkpoint
    in place of an event."""
    return event is not None and event == checkpoint


def partitions(
    descriptions: list[PartitionDescription], group_description: GroupDescription
) -> list[Json]:
    """A row for each partition of a processor."""
    assigned = {each.partition: each for each in group_description.assignments}
    left = {each.id: each.left_ms for each in group_description.members}
    told = {each.id: read_in_hand(each.description) for each in group_description.members}
    rows = []
    for number, description in enumerate(descriptions):
        assignment = assigned.get(number)
        owner = description.lease_owner
        owner_lives = owner is not None and left.get(owner, 0) > 0
        moving = owner_lives and assignment is not None and assignment.target not in (owner, None)
        if description.quarantined:
            state = "quarantined"
        elif description.paused:
            state = "paused"
        elif not owner_lives:
            state = "unassigned"
        else:
            state = "moving" if moving else "owned"
        works = state in ("owned", "moving")
        in_hand = _in_hand(told.get(owner) if works and owner else None, number)
        rows.append(
            {
                "id": number,
                "state": state,
                "owner": owner if owner_lives else None,
                "epoch": description.epoch,
                "session_left_ms": left[owner] if owner_lives and owner else None,
                "checkpoint": description.checkpoint,
                "last": description.last,
                "lag_events": lag_of(description),
                "lag_ms": _lag_ms(description),
                "processed": description.processed or 0,
                "lost": description.lost or 0,
                "lost_acknowledged": description.lost_acknowledged or 0,
                "attempts": description.attempts or 0,
                "unclean_tenures": description.unclean_tenures or 0,
                "failing": _failing(description),
                "current_event_ms": _current_event_ms(description) if works else None,
                "in_hand": in_hand.events if in_hand else None,
                "finished_ahead": in_hand.finished_ahead if in_hand else None,
                "waits_for": _waits_for(description),
                "outbox": (description.outbox_last or 0) - (description.outbox_done or 0),
                "outbox_lost": description.outbox_lost or 0,
                "outbox_waits_for": _outbox_waits_for(description),
                "delayed": description.delayed or 0,
                "delayed_lost": description.delayed_lost or 0,
                "overdue_ms": _overdue_ms(description),
                "parked": _parked(description.parked, description),
                "parked_keys": _parked(description.parked_keys, description),
                "postponed": description.postponed or 0,
                "postponed_in_ms": _postponed_in_ms(description),
                "replaying": description.replay or 0,
                "error": _error(description),
            }
        )
    return rows


def _parked(count: int | None, d: PartitionDescription) -> int:
    """How many of what is set aside is parked: the rest is postponed, each event with a key."""
    return max(0, (count or 0) - (d.postponed or 0))


def _in_hand(told: MemberInHand | None, partition: int) -> InHandCount | None:
    """What the owner had in hand at its last heartbeat, or None if it did not tell."""
    if told is None:
        return None
    return told.partitions.get(partition, InHandCount(0, 0) if told.named else None)


def lag_of(d: PartitionDescription) -> int | None:
    """Events after the checkpoint.

    If the log has no event after the checkpoint, the lag is 0 if everything was read, whatever the
    consumer group counts; else it is unknown until a claim counts what other programs deleted. If
    the log begins after the checkpoint, as it does after `drop_oldest`, the lag is the length of
    the log. Else the consumer group counts the events, if it is at the checkpoint.
    """
    if d.checkpoint is None:
        return None
    if d.next_id is None:
        read_all = d.read is not None and d.read == d.added
        return 0 if read_all or reached(d.checkpoint, d.last) else None
    if d.last_delivered is not None and d.first is not None and not reached(d.checkpoint, d.first):
        return d.length
    if d.lag is not None and d.last_delivered == d.checkpoint:
        return d.lag
    return None


def _lag_ms(d: PartitionDescription) -> int | None:
    """The age of the first unfinished event, from its id. It is unknown if the id is ahead of the
    server's clock: other programs may choose ids, and a clock can be set back."""
    if d.checkpoint is None:
        return None
    if d.next_id is None:
        return 0
    added = _added(d, d.next_id)
    return None if added is None or d.now is None else max(0, d.now - added)


def _added(d: PartitionDescription, event: str) -> int | None:
    """When an event was added, in ms, or None if its id does not show it."""
    ms = parts(event)[0]
    return None if d.now is None or ms > d.now + _SKEW else ms


def oldest_ms(d: PartitionDescription) -> int | None:
    """The age of the oldest event, from its id: 0 if there is none, None if it is unknown."""
    if d.length is None or d.first is None:
        return None if d.length is None else 0
    added = _added(d, d.first)
    return None if added is None or d.now is None else max(0, d.now - added)


def _current_event_ms(d: PartitionDescription) -> int | None:
    """For how long the owner has had the first unfinished event.

    It has had it since the latest of: the last move of the checkpoint, the last claim, the arrival
    of the event. If the arrival is unknown, the result is an upper limit. 0 if there is no
    unfinished event, None if that is unknown.
    """
    if d.checkpoint is not None and d.next_id is None:
        return 0
    if d.moved_at is None or d.next_id is None or d.now is None:
        return None
    arrived = 0 if _unfinished_removed(d) else _added(d, d.next_id) or 0
    return max(0, d.now - max(d.moved_at, arrived))


def _unfinished_removed(d: PartitionDescription) -> bool:
    """Were unfinished events dropped or trimmed? The current event may be one of them; then the
    first event that is left arrived later."""
    if d.first is None or reached(d.checkpoint or "0-0", d.first):
        return False
    return (d.added or 0) - (d.read or 0) > (d.length or 0)


def _failing(d: PartitionDescription) -> bool:
    """Does its event keep failing, or its handler without an event, or do its workers keep
    dying?"""
    if d.next_id is not None and (d.unclean_tenures or 0) >= _TENURES:
        return True
    if d.error_type is None:
        return False
    if d.next_id is not None or d.error_at is None or d.now is None:
        return True
    return d.now - d.error_at < _RECENT


def _error(d: PartitionDescription) -> Json | None:
    if d.error_type is None:
        return None
    return {
        "type": d.error_type,
        "message": d.error_message or "",
        "event": d.error_event,
        "at_ms": d.error_at,
    }


def _waits_for(d: PartitionDescription) -> Json | None:
    """The stream in which the commit of the owner finds no room, or None. No stream: Redis refuses
    the commit for another reason."""
    if d.wait_for is None or d.wait_at != d.checkpoint or d.next_id is None:
        return None
    since = None if d.wait_since is None or d.now is None else max(0, d.now - d.wait_since)
    return {"stream": d.wait_for or None, "reason": d.wait_reason or "", "since_ms": since}


def _outbox_waits_for(d: PartitionDescription) -> Json | None:
    """The stream that has no room for the oldest entry of the outbox, or None."""
    if d.outbox_waits_for is None:
        return None
    since = None if d.outbox_since is None or d.now is None else max(0, d.now - d.outbox_since)
    return {"stream": d.outbox_waits_for, "reason": d.outbox_reason or "", "since_ms": since}


def _postponed_in_ms(d: PartitionDescription) -> int | None:
    """How long it is until the first postponed event is due, 0 if one is, None if none waits."""
    if not d.postponed or d.postponed_due is None or d.now is None:
        return None
    return max(0, d.postponed_due - d.now)


def _overdue_ms(d: PartitionDescription) -> int | None:
    """For how long the first delayed event has been due, or None if none is."""
    if d.delayed_due is None or d.now is None or d.delayed_due > d.now:
        return None
    return d.now - d.delayed_due


def lost(row: Json) -> int:
    """The lost events of a partition that nobody has asked for, as `drop_oldest` does, and that no
    operator has acknowledged."""
    return max(0, int(row["lost"]) - int(row.get("dropped", 0)) - int(row["lost_acknowledged"]))


def is_overdue(row: Json) -> bool:
    """Do delayed events wait longer than it takes to promote them?"""
    return (row["overdue_ms"] or 0) > OVERDUE_AFTER


def outbox_waits(row: Json) -> bool:
    """Do emitted entries wait, and not only until their owner has forwarded them?"""
    return bool(row["outbox"]) and (row["owner"] is None or bool(row["outbox_waits_for"]))


def state_of(processor: Json, group_description: GroupDescription, stalled_after_ms: int) -> str:
    """The state of a processor. It is ok only if each partition is processed, none fails, no event
    is parked or postponed, no delayed one is overdue, and no dead letter is unread."""
    rows, dead_letters = processor["partitions"], processor["dead_letters"]
    if not any(each.left_ms > 0 for each in group_description.members):
        return "down"
    if any(
        (row["current_event_ms"] or 0) > stalled_after_ms and not row["waits_for"] for row in rows
    ):
        return "stalled"
    if any(
        row["failing"]
        or lost(row)
        or row["waits_for"]
        or outbox_waits(row)
        or row["parked"]
        or row["postponed"]
        or is_overdue(row)
        or row["state"] in ("unassigned", "quarantined", "paused")
        for row in rows
    ):
        return "degraded"
    return "degraded" if dead_letters and dead_letters["waiting"] != 0 else "ok"


def total(values: Iterable[int | None]) -> int | None:
    """The sum, or None if one of the values is unknown."""
    known = list(values)
    return None if None in known else sum(each for each in known if each is not None)


def largest(values: Iterable[int | None]) -> int | None:
    """The largest value, 0 if there is none, or None if one is unknown."""
    known = list(values)
    if None in known:
        return None
    return max((each for each in known if each is not None), default=0)
