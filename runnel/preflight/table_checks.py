"""Checks who writes the tables of an app, before a worker registers anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from runnel import keys, protocol
from runnel.app import App
from runnel.errors import ConfigError
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.table import Table


def declared_elsewhere(app: App) -> Iterator[tuple[str, Table[object]]]:
    """The tables that are declared for a processor that this code does not have, each with the key
    where Redis would have that processor."""
    for table in app.tables.values():
        if table.processor is not None and table.processor not in app.processors:
            yield keys.meta(table.stream.prefix(0)), table


async def check_declared(scripts: Scripts, app: App) -> None:
    """Raise ConfigError if a table is declared for a processor that neither this code nor Redis
    has: its name must be wrong."""
    for meta, table in declared_elsewhere(app):
        fields = (f"checkpoint:{table.processor}", f"table:{table.name}")
        registered, writer = await scripts.deployment.ask(
            [(meta, ("HGET", meta, field)) for field in fields]
        )
        if registered is None and (writer is None or protocol.text(writer) != table.processor):
            known = [each.name for each in app.processors.values() if each.stream is table.stream]
            raise ConfigError(
                f"table {table.name}: processor={table.processor!r} is neither a processor of this "
                f"app nor registered in Redis; the processors of {table.stream.name} here are "
                f"{', '.join(known) or 'none'}"
            )


async def check_writers(scripts: Scripts, app: App, processor: Processor) -> None:
    """Raise ConfigError if the processor is to write a table that another one writes in Redis.

    A table that is declared without a writer may be one that this processor never writes. So that
    of another processor of the app is no error.
    """
    of_stream = {each.name for each in app.processors.values() if each.stream is processor.stream}
    for name in processor.tables:
        declared = app.tables[name].processor
        for writer in await _writers(scripts, processor, name):
            if writer == processor.name or (declared is None and writer in of_stream):
                continue
            other = "" if declared else f"declare it with processor={writer!r}, "
            raise ConfigError(
                f"table {name}: the processor {writer} writes it, so {processor.name} cannot: "
                f"{other}use another name, or empty it with `runnel table clear`"
            )


async def with_own_tables(scripts: Scripts, app: App, processor: Processor) -> Processor:
    """The processor without the tables that others write, and it does not.

    A table may be declared without a writer. Under its leases a processor remembers what it has
    read of its tables, and that would not be true for those of another processor.
    """
    own = []
    for name in processor.tables:
        undeclared = app.tables[name].processor is None
        writers = await _writers(scripts, processor, name) if undeclared else []
        if not writers or processor.name in writers:
            own.append(name)
    return replace(processor, tables=tuple(own))


async def _writers(scripts: Scripts, processor: Processor, table: str) -> list[str]:
    """The processors that write a table, in Redis, on any partition."""
    spec, field = processor.stream, f"table:{table}"
    metas = [keys.meta(spec.prefix(number)) for number in range(spec.partition_count)]
    replies = await scripts.deployment.ask([(meta, ("HGET", meta, field)) for meta in metas])
    return sorted({protocol.text(each) for each in replies if each})
