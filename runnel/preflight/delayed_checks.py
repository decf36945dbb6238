"""Checks before delayed events are looked at or cancelled."""

from __future__ import annotations

from typing import Any

from runnel import keys, protocol
from runnel.preflight.acl import Required, check
from runnel.preflight.checks import check_contract
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec


async def check_delayed(
    scripts: Scripts, spec: StreamSpec[Any], url: str, cancels: bool = False
) -> None:
    """Raise ServerError for a missing permission; Mismatch."""
    await check(scripts, required_by_delayed(spec, cancels), url)
    await check_contract(scripts, spec, url)


def required_by_delayed(spec: StreamSpec[Any], cancels: bool) -> Required:
    """What it takes to look at delayed events of a stream, or to cancel one."""
    prefix = spec.prefix(0)
    calls = [protocol.describe(PartitionKeys(prefix, "p"))]
    if cancels:
        calls.append(protocol.cancel(prefix, 1, 1))
    return Required(spec.app, tuple(calls), (("ZRANGE", keys.delayed(prefix)),))
