"""Tells which members have not been heard of for too long, before their sessions end."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def session_left_ms(member: Json, seen: Json) -> int | None:
    """For a member that owns partitions and has missed a heartbeat: ms until its session ends and
    its partitions move. None if it was heard of in the last half of its session."""
    for processor in seen["processors"]:
        if (processor["app"], processor["name"]) == (member["app"], member["processor"]):
            for row in processor["partitions"]:
                if row["owner"] == member["id"]:
                    left: int = row["session_left_ms"]
                    return left if left < member["last_heartbeat_ms"] else None
    return None


def silent(seen: Json) -> int:
    """How many workers have missed a heartbeat."""
    late = {each["id"] for each in seen["members"] if session_left_ms(each, seen) is not None}
    return len(late)
