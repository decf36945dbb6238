"""Carries out ``runnel processor reset``: what it would do, and what it has done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runnel.app import App
from runnel.cli.output import report
from runnel.errors import ConfigError
from runnel.operations import admin
from runnel.operations.partition_ranges import many
from runnel.operations.resetting import effects
from runnel.operations.table_admin import count_keys, tables_of
from runnel.preflight.checks import check_operator
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

Json = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What the operator asks for: the first event as `--start` names it and as `seek` takes it, the
    partitions, None for all, and what is done with tables, None if that was not said."""

    start: str
    first: str
    partitions: Sequence[int] | None
    tables: str | None
    execute: bool


async def reset(scripts: Scripts, app: App, processor: Processor, wanted: Wanted, url: str) -> Json:
    """Reset the processor, or only find out what that would do.

    Raises ConfigError if the processor has tables and the operator did not say what to do with
    them.
    """
    await check_operator(scripts, processor, "reset", url)
    declared = [
        each.name
        for each in app.tables.values()
        if each.stream is processor.stream and each.processor == processor.name
    ]
    tables = sorted({*declared, *await tables_of(scripts, processor)})
    if tables and wanted.tables is None:
        raise ConfigError(
            f"processor {processor.name} has the table{'s' * (len(tables) > 1)} "
            f"{', '.join(tables)}: choose --tables clear, to fill {_them(tables)} anew from the "
            f"events that are processed again, or --tables keep, to leave {_them(tables)} as "
            f"{'they are' if len(tables) > 1 else 'it is'}: then these events count twice"
        )
    chosen = wanted.partitions
    numbers = range(processor.stream.partition_count) if chosen is None else chosen
    cleared = tables if wanted.tables == "clear" else []
    keys = await count_keys(scripts, processor.stream, cleared, numbers)
    found = await effects(scripts, processor, wanted.first, numbers)
    checkpoints: Sequence[str | None] = [None] * len(numbers)
    if wanted.execute:
        checkpoints = await admin.reset(scripts, processor, wanted.first, numbers, cleared)
    return {
        "processor": processor.name,
        "start": wanted.start,
        "tables": wanted.tables if tables else None,
        "cleared": keys,
        "partitions": [
            {"id": number, "checkpoint": checkpoint, **each._asdict()}
            for number, checkpoint, each in zip(numbers, checkpoints, found, strict=True)
        ],
        "executed": wanted.execute,
    }


def _them(tables: Sequence[str]) -> str:
    return "them" if len(tables) > 1 else "it"


def show(done: Json, as_json: bool) -> None:
    """Print what `reset` has found or done."""
    if as_json:
        report(json.dumps(done))
        return
    again, skipped = (_total(done, name) for name in ("again", "skipped"))
    keys = [f"{name} ({n} key{'s' * (n != 1)})" for name, n in done["cleared"].items()]
    if done["executed"]:
        for each in done["partitions"]:
            report(f"{each['id']} {each['checkpoint']}")
        if keys:
            report(f"cleared {', '.join(keys)}")
        if skipped:
            report(f"skipped without processing them: {skipped}")
        return
    clear = f", and clear {', '.join(keys)}" if keys else ""
    report(
        f"would set {many(len(done['partitions']))} of {done['processor']} to {done['start']}"
        f"{clear}. Processed again: {again or 'none'}; skipped: {skipped or 'none'}. "
        "Nothing was changed: give --execute"
    )


def _total(done: Json, name: str) -> str:
    """How many events, in words; empty for none."""
    counts = [each[name] for each in done["partitions"]]
    known = sum(each or 0 for each in counts)
    if None in counts:
        return f"at least {known:,} events (Redis does not know all)"
    return f"{known:,} event{'s' * (known != 1)}" if known else ""
