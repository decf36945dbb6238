"""Administers tables: what they hold, how to empty them. All of it is safe while workers run."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from runnel import keys, protocol
from runnel.errors import RunnelError
from runnel.operations.table_sizes import sizes
from runnel.processor import Processor
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec
from runnel.table import Table

#: Fields of one HSCAN, so that Redis serves other clients in between.
PAGE = 500


class Part(NamedTuple):
    """The part of a table on one partition: the processor that writes it, None if there is none
    yet, its keys, and the bytes that it takes, None if the server does not tell."""

    writer: str | None
    keys: int | None
    bytes: int | None


async def parts_of(scripts: Scripts, table: Table[Any]) -> list[Part]:
    """The parts of a table by partition. The cost does not depend on the number of keys: the bytes
    are what Redis estimates from a few of them."""
    prefixes = [table.stream.prefix(number) for number in range(table.stream.partition_count)]
    metas = [keys.meta(each) for each in prefixes]
    field = f"table:{table.name}"
    writers = await scripts.deployment.ask([(each, ("HGET", each, field)) for each in metas])
    found = await sizes(scripts, [(each, table.name) for each in prefixes])
    return [
        Part(protocol.text(writer) if writer else None, size.keys, size.bytes)
        for writer, size in zip(writers, found, strict=True)
    ]


def writers_of(parts: Sequence[Part]) -> list[str]:
    """The processors that write a table: one, unless several began on different partitions."""
    return sorted({each.writer for each in parts if each.writer})


async def tables_of(scripts: Scripts, processor: Processor) -> list[str]:
    """The names of the tables that a processor writes, in Redis, on any partition."""
    spec = processor.stream
    metas = [keys.meta(spec.prefix(number)) for number in range(spec.partition_count)]
    found = set()
    for reply in await scripts.deployment.ask([(each, ("HGETALL", each)) for each in metas]):
        flat = [protocol.text(each) for each in reply]
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            if name.startswith("table:") and value == processor.name:
                found.add(name.removeprefix("table:"))
    return sorted(found)


async def count_keys(
    scripts: Scripts, spec: StreamSpec[Any], tables: Sequence[str], partitions: Sequence[int]
) -> dict[str, int]:
    """How many keys these tables have on these partitions."""
    found = {}
    for table in tables:
        names = [keys.table(spec.prefix(number), table) for number in partitions]
        replies = await scripts.deployment.ask([(each, ("HLEN", each)) for each in names])
        found[table] = sum(int(each) for each in replies)
    return found


async def export(
    scripts: Scripts, table: Table[Any], match: str | None = None
) -> AsyncIterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """All keys with their values, in pages with their partition; only those that `match`, which is
    a glob of Redis.

    A key that is there all the time is in a page. Keys that are written meanwhile may be missing,
    or come twice: the later value is the newer one. Raises RunnelError if the server was replaced
    meanwhile, since it would go on at another place, and redis-py's errors.
    """
    deployment, matching = scripts.deployment, () if match is None else ("MATCH", match)
    await deployment.refresh()
    for number in range(table.stream.partition_count):
        name = keys.table(table.stream.prefix(number), table.name)
        client, cursor, run_id = deployment.client_for(name), b"0", None
        while True:
            info, reply = await client.roundtrip(
                [("INFO", "server"), ("HSCAN", name, cursor, *matching, "COUNT", PAGE)]
            )
            for each in (info, reply):
                if isinstance(each, Exception):
                    raise each
            (seen,) = [each for each in info.splitlines() if each.startswith(b"run_id:")]
            if run_id not in (None, seen):
                raise RunnelError(
                    f"table {table.name}: the server of partition {number} was restarted or "
                    "replaced during the export, which is not complete: run it again"
                )
            run_id, (cursor, flat) = seen, reply
            yield number, list(zip(flat[::2], flat[1::2], strict=True))
            if cursor == b"0":
                break


async def living_members(scripts: Scripts, table: Table[Any], writers: Sequence[str]) -> int:
    """How many workers run processors that write the table."""
    living = 0
    for name in writers:
        group = keys.group(table.stream.app, table.stream.name, name)
        reply = await scripts.call(protocol.describe_group(group))
        found = protocol.read_describe_group(reply).members
        living += sum(1 for each in found if each.left_ms > 0)
    return living


async def clear(scripts: Scripts, table: Table[Any], parts: Sequence[Part]) -> int:
    """Delete these parts of a table, and forget who writes them. Returns the number of keys.

    A worker that writes them meanwhile is fenced, claims the partition again and continues with the
    empty table.
    """
    spec, deleted = table.stream, 0
    cleared: dict[str, list[int]] = {}
    try:
        for number, part in enumerate(parts):
            if not part.writer and part.keys == 0:
                continue
            # Without a writer, nobody has a lease that must end: any name will do.
            writer = part.writer or table.processor or table.name
            call = protocol.clear_table(
                PartitionKeys(spec.prefix(number), writer), table.name, secrets.token_hex(16)
            )
            deleted += int(await scripts.call(call))
            cleared.setdefault(writer, []).append(number)
    finally:  # Also after an error: their owners were fenced, and must claim them again.
        for writer, numbers in cleared.items():
            group = keys.group(spec.app, spec.name, writer)
            for at in range(0, len(numbers), 1000):
                await scripts.call(protocol.revoke(group, numbers[at : at + 1000]))
    return deleted
