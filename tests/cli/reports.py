"""Reports as `inspect` makes them, for tests of code that reads them."""

from __future__ import annotations

from typing import Any

AT = "1795435471123-0"
ERROR = {"type": "ValueError", "message": "no price", "event": "1795435471200-0", "at_ms": 1}


def partition(number: int = 0, **fields: Any) -> dict[str, Any]:
    """One partition in a report, without problems by default."""
    return {
        "id": number,
        "state": "owned",
        "owner": "billing-worker-5d9c7b9f4-abcde",
        "epoch": 1795435471123,
        "session_left_ms": 9000,
        "checkpoint": "1795435471123-0",
        "last": "1795435471999-12",
        "lag_events": 1204,
        "lag_ms": 61_000,
        "processed": 40213,
        "lost": 0,
        "lost_acknowledged": 0,
        "dropped": 0,
        "attempts": 0,
        "unclean_tenures": 0,
        "failing": False,
        "current_event_ms": 900,
        "in_hand": None,
        "finished_ahead": None,
        "waits_for": None,
        "delayed": 0,
        "delayed_lost": 0,
        "overdue_ms": None,
        "parked": 0,
        "parked_keys": 0,
        "postponed": 0,
        "postponed_in_ms": None,
        "replaying": 0,
        "outbox": 0,
        "outbox_lost": 0,
        "outbox_waits_for": None,
        "error": None,
        **fields,
    }


def report(state: str = "ok", *rows: dict[str, Any]) -> dict[str, Any]:
    """A report on one processor."""
    partitions = list(rows) or [partition()]
    owners = {row["owner"] for row in partitions} - {None}
    lag = sum(row["lag_events"] or 0 for row in partitions)
    return {
        "schema": "runnel.inspect/1",
        "at_ms": 1795435499000,
        "server": {"kind": "valkey", "version": "9.1.2", "mode": "standalone"},
        "totals": {
            "lag_events": lag,
            "lag_ms": 61_000,
            "unassigned": 0,
            "quarantined": sum(row["state"] == "quarantined" for row in partitions),
            "failing": 0,
            "dead_letters": 0,
            "parked": sum(row["parked"] for row in partitions),
            "postponed": sum(row["postponed"] for row in partitions),
            "members": len(owners),
        },
        "processors": [
            {
                "app": "shop",
                "name": "billing",
                "stream": "orders",
                "state": state,
                "lag_events": lag,
                "lag_ms": 61_000,
                "dead_letters": None,
                "mixed": False,
                "tables": [],
                "partitions": partitions,
            }
        ],
        "members": [
            {
                "id": owner,
                "app": "shop",
                "processor": "billing",
                "host": "node-7",
                "pid": 41,
                "lang": "python",
                "version": "1.0.0",
                "scripts": "4fbc2d1",
                "partitions": [row["id"] for row in partitions if row["owner"] == owner],
                "in_hand": None,
                "finished_ahead": None,
                "last_heartbeat_ms": 1200,
            }
            for owner in sorted(owners)
        ],
        "streams": [],
    }


def with_dead_letters(waiting: int | None, readers: list[str]) -> dict[str, Any]:
    """A processor whose dead letters wait."""
    seen = report("degraded")
    found = {"stream": "orders.billing.dead", "waiting": waiting, "readers": readers}
    seen["processors"][0]["dead_letters"] = found
    seen["totals"]["dead_letters"] = waiting
    return seen


def stream(name: str = "orders", *rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A stream in a report, with one empty partition by default."""
    partitions = list(rows) or [stream_partition()]
    return {
        "app": "shop",
        "name": name,
        "partition_count": len(partitions),
        "partition_size": 100,
        "max_age_ms": None,
        "retain": "always",
        "length": sum(row["length"] or 0 for row in partitions),
        "oldest_ms": 0,
        "delayed": 0,
        "delayed_due_ms": None,
        "partitions": partitions,
        **fields,
    }


def stream_partition(number: int = 0, **fields: Any) -> dict[str, Any]:
    """One partition of a stream."""
    return {
        "id": number,
        "length": 0,
        "first": None,
        "last": "0-0",
        "oldest_ms": 0,
        "delayed": 0,
        "delayed_due_ms": None,
        "delayed_lost": 0,
        **fields,
    }
