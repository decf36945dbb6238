"""What the figures of `inspect` mean: from what Redis answered to rows. No I/O.

What is unknown is None, never 0, and makes its total None.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runnel.protocol import GroupDescription
from runnel.protocol.ids import parts, reached

Json = dict[str, Any]
Picture = dict[str, str]

#: Milliseconds for which a failure with no event in hand counts if it does not come again: longer
#: than the pause between two tries.
_RECENT = 90_000
#: Milliseconds by which an id may be ahead of the server's clock and still tell when it was added.
_SKEW = 1_000
#: Workers that ended uncleanly in a row on one partition: one may have been anything.
_DEATHS = 2


def failed_before_first(event: str | None, checkpoint: str | None) -> bool:
    """Did the handler fail before its first event? Then the failure is stored with the checkpoint
    in place of an event."""
    return event is not None and event == checkpoint


def partitions(pictures: list[Picture], group_description: GroupDescription) -> list[Json]:
    """A row for each partition of a processor."""
    assigned = {each.partition: each for each in group_description.assignments}
    left = {each.id: each.left_ms for each in group_description.members}
    rows = []
    for number, picture in enumerate(pictures):
        assignment = assigned.get(number)
        owner = picture.get("owner") if picture.get("released") == "0" else None
        owner_lives = owner is not None and left.get(owner, 0) > 0
        moving = owner_lives and assignment is not None and assignment.target not in (owner, None)
        if picture.get("quarantined") == "1":
            state = "quarantined"
        elif picture.get("paused") == "1":
            state = "paused"
        elif not owner_lives:
            state = "unassigned"
        else:
            state = "moving" if moving else "owned"
        works = state in ("owned", "moving")
        rows.append(
            {
                "id": number,
                "state": state,
                "owner": owner if owner_lives else None,
                "epoch": integer(picture.get("epoch")),
                "session_left_ms": left[owner] if owner_lives and owner else None,
                "checkpoint": picture.get("checkpoint"),
                "last": picture.get("last", "0-0"),
                "lag_events": _lag(picture),
                "lag_ms": _lag_ms(picture),
                "processed": integer(picture.get("processed", "0")),
                "lost": integer(picture.get("lost", "0")),
                "attempts": integer(picture.get("attempts", "0")),
                "tenures": integer(picture.get("tenures", "0")),
                "failing": _failing(picture),
                "current_event_ms": _in_hand(picture) if works else None,
                "error": _error(picture),
            }
        )
    return rows


def _lag(picture: Picture) -> int | None:
    """Events behind the checkpoint: the consumer group's own count, if it stands there. Where the
    log begins behind the checkpoint, as after `drop_oldest`, all that is in it. Where the log has
    no entry there, whatever the group counts: none if all was read, else a claim is still to count
    what others deleted."""
    checkpoint, first = picture.get("checkpoint"), picture.get("first")
    if checkpoint is None:
        return None
    if "next_id" not in picture:
        read_all = "read" in picture and picture["read"] == picture.get("added")
        return 0 if read_all or reached(checkpoint, picture.get("last", "0-0")) else None
    if "last_delivered" in picture and first is not None and not reached(checkpoint, first):
        return integer(picture.get("length"))
    if "lag" in picture and picture.get("last_delivered") == checkpoint:
        return int(picture["lag"])
    return None


def _lag_ms(picture: Picture) -> int | None:
    """How long the first unfinished event has been there. Its id tells, unless it is ahead of the
    server's clock: others choose ids, and a clock can go back."""
    if "checkpoint" not in picture:
        return None
    if "next_id" not in picture:
        return 0
    added = _added(picture)
    return None if added is None else max(0, int(picture["now"]) - added)


def _added(picture: Picture) -> int | None:
    """When the first unfinished event was added, in ms, or None if its id cannot tell."""
    ms = parts(picture["next_id"])[0]
    return None if ms > int(picture["now"]) + _SKEW else ms


def _in_hand(picture: Picture) -> int | None:
    """How long the holder has had the first unfinished event: since the checkpoint last moved, the
    lease was last taken, or the event came; where nothing tells when that was, it is that long at
    most. 0 if there is none, None if that is not known."""
    if "checkpoint" in picture and "next_id" not in picture:
        return 0
    moved = integer(picture.get("moved_at"))
    if moved is None or "next_id" not in picture:
        return None
    came = 0 if _gone(picture) else _added(picture) or 0
    return max(0, int(picture["now"]) - max(moved, came))


def _gone(picture: Picture) -> bool:
    """Were unfinished events dropped or trimmed? The one in hand may be among them, and the first
    that is left has come later."""
    first, checkpoint = picture.get("first"), picture.get("checkpoint", "0-0")
    counts = (integer(picture.get(name)) or 0 for name in ("added", "read", "length"))
    added, read, length = counts
    return first is not None and not reached(checkpoint, first) and added - read > length


def _failing(picture: Picture) -> bool:
    """Does it fail again and again: its event, its handler with no event in hand, its workers?"""
    if "next_id" in picture and (integer(picture.get("tenures")) or 0) >= _DEATHS:
        return True
    if "error_type" not in picture:
        return False
    at, now = integer(picture.get("error_at")), integer(picture.get("now"))
    return "next_id" in picture or at is None or now is None or now - at < _RECENT


def _error(picture: Picture) -> Json | None:
    if "error_type" not in picture:
        return None
    return {
        "type": picture["error_type"],
        "message": picture.get("error_message", ""),
        "event": picture.get("error_event"),
        "at_ms": integer(picture.get("error_at")),
    }


def state_of(processor: Json, group_description: GroupDescription, stalled_after_ms: int) -> str:
    """How a processor is: ok only if each partition is worked on, none fails, and no dead letter
    waits for somebody."""
    rows, letters = processor["partitions"], processor["dead_letters"]
    if not any(each.left_ms > 0 for each in group_description.members):
        return "down"
    if any((row["current_event_ms"] or 0) > stalled_after_ms for row in rows):
        return "stalled"
    if any(
        row["failing"] or row["state"] in ("unassigned", "quarantined", "paused") for row in rows
    ):
        return "degraded"
    return "degraded" if letters and letters["waiting"] != 0 else "ok"


def integer(text: str | None) -> int | None:
    """A number in a reply, or None if there is none."""
    return int(text) if text and text.lstrip("-").isdigit() else None


def total(values: Iterable[int | None]) -> int | None:
    """Their sum, or None if one is unknown."""
    known = list(values)
    return None if None in known else sum(each for each in known if each is not None)


def most(values: Iterable[int | None]) -> int | None:
    """The largest of them, or None if one is unknown."""
    known = list(values)
    if None in known:
        return None
    return max((each for each in known if each is not None), default=0)
