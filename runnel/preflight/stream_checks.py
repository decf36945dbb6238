"""Checks before a stream is created, shown or trimmed by hand."""

from __future__ import annotations

from typing import Any

from runnel import keys, protocol
from runnel.preflight.acl import Required, check
from runnel.preflight.checks import check_contract
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec


async def check_stream(scripts: Scripts, spec: StreamSpec[Any], action: str, url: str) -> None:
    """Check before an action on a stream: create, show or trim. Raises ServerError for a missing
    permission; Mismatch."""
    await check(scripts, required_by_stream(spec, action), url)
    await check_contract(scripts, spec, url)


def required_by_stream(spec: StreamSpec[Any], action: str) -> Required:
    """What an action on a stream may run. MEMORY USAGE is used only if it is permitted."""
    prefix, log = spec.prefix(0), keys.log(spec.prefix(0))
    calls = [protocol.describe(PartitionKeys(prefix, "p"))]
    direct = [("HGETALL", keys.streams(spec.app))]
    if action == "create":
        calls.append(protocol.declare(prefix, spec.contract))
        direct = [("SADD", keys.apps()), ("HSET", keys.streams(spec.app))]
    elif action == "trim":
        calls.append(protocol.trim(prefix, 1, 0, "refuse"))
        direct += [("XRANGE", log), ("XINFO GROUPS", log)]
    return Required(spec.app, tuple(calls), tuple(direct))
