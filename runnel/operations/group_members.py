"""Reads who is a member of which group, for a probe: one call for each processor."""

from __future__ import annotations

from runnel import keys, protocol
from runnel.operations.inspection import apps, strings_at
from runnel.protocol.scripts import Scripts


async def groups_of(scripts: Scripts, member: str, app: str | None) -> dict[str, bool]:
    """Processor, such as ``shop/billing`` -> is this a live member of its group? For each processor
    in the registry, of one app or of all."""
    found = {}
    for name in [app] if app else await apps(scripts.client):
        registered = await strings_at(scripts.client, keys.processors(name))
        for pair in sorted(registered):
            stream, _, processor = pair.partition("@")
            call = protocol.describe_group(keys.group(name, stream, processor))
            group = protocol.read_describe_group(await scripts.call(call))
            live = [each.id for each in group.members if each.left_ms > 0]
            found[f"{name}/{processor}"] = member in live
    return found
