"""Reads a table from outside the handlers of its processor: what was last committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from runnel import keys
from runnel.connection.deployment import Command, Deployment
from runnel.errors import Mismatch
from runnel.protocol import text
from runnel.stream import StreamSpec

#: Fields of one command at most, so that Redis serves other clients in between.
FIELDS = 500


async def read_committed(
    deployment: Deployment,
    spec: StreamSpec[Any],
    table: str,
    wanted: Iterable[bytes],
    partition: int | None = None,
) -> dict[bytes, bytes | None]:
    """The stored value of each key, None if it has none. The keys of one partition are read
    together, up to `FIELDS`; those of several partitions at different moments. `partition` has all
    of them; without it, each is in the partition of the events that have this key.

    Raises Mismatch if the stream in Redis has other partitions than `spec`: the keys would be
    looked for in the wrong ones. Raises redis-py's errors.
    """
    by_partition: defaultdict[int, list[bytes]] = defaultdict(list)
    for key in dict.fromkeys(wanted):
        number = partition_of(spec, key) if partition is None else partition
        by_partition[number].append(key)
    asked: list[tuple[str, list[bytes]]] = []
    for number, those in by_partition.items():
        name = keys.table(spec.prefix(number), table)
        asked += [(name, those[at : at + FIELDS]) for at in range(0, len(those), FIELDS)]
    if not asked:
        return {}
    meta = keys.meta(spec.prefix(0))  # Partition 0 stands for the stream.
    commands: list[Command] = [(meta, ("HMGET", meta, "partitions", "hash"))]
    commands += [(name, ("HMGET", name, *those)) for name, those in asked]
    stored, *replies = await deployment.ask(commands)
    _check_contract(spec, stored)
    found: dict[bytes, bytes | None] = {}
    for (_, those), values in zip(asked, replies, strict=True):
        found.update(zip(those, values, strict=True))
    return found


def partition_of(spec: StreamSpec[Any], key: bytes) -> int:
    """The partition of the events with this key."""
    return spec.hasher(key) % spec.partition_count


def _check_contract(spec: StreamSpec[Any], stored: Sequence[Any]) -> None:
    given = {"partitions": spec.partition_count, "hash": spec.hasher.name}
    for (field, own), value in zip(given.items(), stored, strict=True):
        if value is not None and text(value) != str(own):
            details = {"stream": spec.name, "field": field, "stored": text(value)}
            details["given"] = str(own)
            words = " ".join(f"{name}={each}" for name, each in details.items())
            raise Mismatch(f"MISMATCH {words}", details)
