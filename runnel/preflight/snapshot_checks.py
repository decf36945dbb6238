"""Checks Redis before snapshots of tables are taken, listed, restored or deleted."""

from __future__ import annotations

from runnel import keys, protocol
from runnel.errors import Unregistered
from runnel.preflight.acl import Required, check
from runnel.preflight.checks import check_contract
from runnel.processor import Processor
from runnel.protocol import SnapshotKeys
from runnel.protocol.scripts import Scripts


async def check_snapshots(scripts: Scripts, processor: Processor, action: str, url: str) -> None:
    """Check before an operator's `action`: take, list, restore or delete.

    Raises ServerError for a missing permission, Mismatch, and Unregistered.
    """
    await check(scripts, required_by_snapshots(processor, action), url)
    seen = await check_contract(scripts, processor.stream, url, processor.name)
    if seen.checkpoint is None and action in ("take", "restore"):
        raise Unregistered(
            f"processor {processor.name} is not registered on stream {processor.stream.name}: "
            "start a worker, or run `runnel processor add`"
        )


def required_by_snapshots(processor: Processor, action: str) -> Required:
    """What an operator's action may run."""
    of, group = processor.keys(0), processor.group
    at = SnapshotKeys(of, "s")
    calls = [protocol.describe(of)]
    direct = [("HGETALL", of.meta), ("HGETALL", at.record), ("TIME", "")]
    channels = []
    if action == "take":
        calls += [
            protocol.snapshot(at, ["t"], "begin", ""),
            protocol.copy_table(at, at.taken("t"), "", "0", 1),
            protocol.pause(of),
            protocol.resume(of),
        ]
    elif action == "restore":
        calls += [
            protocol.copy_table(at, at.restored("t"), "", "0", 1),
            protocol.restore(at, ["t"], "", 0, ""),
        ]
    elif action == "delete":
        direct += [("UNLINK", at.record), ("HDEL", of.meta)]
    if action in ("take", "restore"):
        calls.append(protocol.revoke(group, [0]))
        channels.append(("PUBLISH", keys.wake(group)))
    return Required(processor.app, tuple(calls), tuple(direct), tuple(channels))
