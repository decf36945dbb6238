"""Compares the scripts of this installation with what a Redis holds, and with what members run."""

from __future__ import annotations

from typing import Any

from runnel import keys, protocol
from runnel.connection.redis_client import Client
from runnel.errors import ConfigError
from runnel.operations.figures import Json
from runnel.operations.inspection import apps, strings_at
from runnel.operations.member_versions import described, versions
from runnel.operations.registry_entry import Entry
from runnel.protocol.scripts import CALLS_PER_ROUND_TRIP, PROTOCOL, Scripts, sha, sources, version

SCHEMA = "runnel.lua.verify/1"


async def verify(scripts: Scripts, app: str | None = None) -> Json:
    """A report of one app, or of all apps in the registry.

    `is_this_version` is False if a stream has a newer protocol, or a live member another script
    set. What is not loaded is no fault: a client loads what is missing when it calls it. Raises
    ConfigError for an app that the registry does not know, and redis-py's errors.
    """
    known = await apps(scripts.client)
    if app is not None and app not in known:
        raise ConfigError(f"there is no app {app!r} here; there is {', '.join(known) or 'none'}")
    names = known if app is None else [app]
    nodes = [await _node(each) for each in await scripts.deployment.primaries()]
    streams = [row for each in names for row in await _streams(scripts, each)]
    processors = [row for each in names for row in await _processors(scripts, each)]
    newer = any((row["protocol"] or 0) > PROTOCOL for row in streams)
    foreign = any(
        each["scripts"] not in (version(), None) for row in processors for each in row["members"]
    )
    return {
        "schema": SCHEMA,
        "script_set": version(),
        "protocol": PROTOCOL,
        "is_this_version": not (newer or foreign),
        "nodes": nodes,
        "streams": streams,
        "processors": processors,
    }


async def _node(node: Client) -> Json:
    """Which scripts one server has. `others` counts scripts that are not ours, or of another
    version; None if the server does not tell."""
    at: dict[str, Any] = node.connection_pool.connection_kwargs
    (found,) = await node.roundtrip([("SCRIPT", "EXISTS", *map(sha, sources()))])
    if isinstance(found, Exception):
        raise found
    loaded = dict(zip(sources(), map(bool, found), strict=True))
    info = await node.info("memory")
    cached = info.get("number_of_cached_scripts")
    return {
        "node": at.get("path") or f"{at.get('host', '?')}:{at.get('port', '?')}",
        "loaded": [name for name, there in loaded.items() if there],
        "missing": [name for name, there in loaded.items() if not there],
        "others": None if cached is None else max(0, int(cached) - sum(loaded.values())),
    }


async def _streams(scripts: Scripts, app: str) -> list[Json]:
    """The largest protocol version that a partition of each stream stores."""
    rows = []
    for name, text in sorted((await strings_at(scripts.client, keys.streams(app))).items()):
        entry = Entry.read(text, app, name)
        stored: list[int] = []
        for first in range(0, entry.partition_count, CALLS_PER_ROUND_TRIP):
            numbers = range(first, min(first + CALLS_PER_ROUND_TRIP, entry.partition_count))
            metas = [keys.meta(keys.partition(app, entry.source, n, name)) for n in numbers]
            asked = [(meta, ("HGET", meta, "protocol")) for meta in metas]
            stored += [int(each) for each in await scripts.deployment.ask(asked) if each]
        rows.append({"app": app, "name": name, "protocol": max(stored, default=None)})
    return rows


async def _processors(scripts: Scripts, app: str) -> list[Json]:
    """What the live members of each processor run."""
    rows = []
    for field in sorted(await strings_at(scripts.client, keys.processors(app))):
        stream, _, name = field.partition("@")
        call = protocol.describe_group(keys.group(app, stream, name))
        group = protocol.read_describe_group(await scripts.call(call))
        live = [described(each.description) for each in group.members if each.left_ms > 0]
        members = [
            {"lang": lang, "version": number, "scripts": script_set, "count": count}
            for (lang, number, script_set), count in versions(live).most_common()
        ]
        rows.append({"app": app, "name": name, "stream": stream, "members": members})
    return rows
