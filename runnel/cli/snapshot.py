"""The commands ``runnel table snapshot``, ``snapshots``, ``restore`` and ``delete-snapshot``."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from runnel.cli import exits, urls
from runnel.cli.output import report
from runnel.cli.running import with_scripts
from runnel.cli.tables import duration
from runnel.cli.tables import table as columns
from runnel.cli.target import load_processor
from runnel.errors import ConfigError
from runnel.operations import snapshot_parts
from runnel.operations import snapshots as operations
from runnel.operations.partition_ranges import many, those
from runnel.operations.snapshot_parts import Snapshot, snapshots_of
from runnel.preflight.snapshot_checks import check_snapshots
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

T = TypeVar("T")
Json = dict[str, Any]


def _work(
    target: str,
    redis_url: str | None,
    action: str,
    work: Callable[[Scripts, Processor], Awaitable[T]],
) -> T:
    """Check what the action needs, then do the work."""
    app, processor = load_processor(target)
    url = redis_url or app.settings.redis_url

    async def checked(scripts: Scripts) -> T:
        await check_snapshots(scripts, processor, action, url)
        with ended_like_ctrl_c():
            return await work(scripts, processor)

    return with_scripts(url, checked)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: it resumes a partition that it has paused."""
    before = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command(
    short_help="Keep a copy of the tables of a processor.",
    epilog=exits.epilog("runnel table snapshot example:book monday"),
)
@click.argument("target")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@urls.option
def snapshot(target: str, name: str, as_json: bool, redis_url: str | None) -> None:
    """Keep a copy of all tables of a processor, with the checkpoints that they belong to.

    `runnel table restore` goes back to it. A copy takes as much memory as the tables, and is kept
    until it is deleted. Workers may go on: a partition on which something is committed meanwhile is
    paused for the moment that its copy takes, and resumed. Partitions are copied one after the
    other.
    """

    async def work(scripts: Scripts, processor: Processor) -> Json:
        known = await snapshots_of(scripts, processor)
        if name in known and known[name].complete(processor):
            raise ConfigError(
                f"{processor.name} has a snapshot {name} already, of {_when(known[name].at_ms)}: "
                f"choose another name, or delete it: `runnel table delete-snapshot {target} {name}`"
            )
        rows: list[Json] = []
        async for number, part, paused in operations.take(scripts, processor, name):
            rows.append({"id": number, "checkpoint": part.checkpoint, "paused": paused})
            if not as_json:
                report(f"{number} {part.checkpoint}{' paused meanwhile' if paused else ''}")
        taken = (await snapshots_of(scripts, processor))[name]
        return {**_summary(taken, processor), "partitions": rows}

    done = _work(target, redis_url, "take", work)
    if as_json:
        report(json.dumps(done))
    else:
        report(f"took the snapshot {name} of {done['processor']}: {_tables(done['tables'])}")


def _summary(found: Snapshot, processor: Processor) -> Json:
    return {
        "name": found.name,
        "processor": processor.name,
        "at_ms": found.at_ms,
        "complete": found.complete(processor),
        "tables": found.tables,
    }


def _tables(tables: Mapping[str, int]) -> str:
    """Tables with their keys, for people."""
    found = [f"{name} ({n} key{'' if n == 1 else 's'})" for name, n in tables.items()]
    return ", ".join(found) or "no tables"


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return "?"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@click.command(
    short_help="Show the snapshots of a processor.",
    epilog=exits.epilog("runnel table snapshots example:book"),
)
@click.argument("target")
@click.option("--json", "json_lines", is_flag=True, help="Print a JSON object per line.")
@urls.option
def snapshots(target: str, json_lines: bool, redis_url: str | None) -> None:
    """Show the snapshots of a processor: when they were taken, their age, tables and keys.

    One that was interrupted is not complete: it can only be deleted, or taken again.
    """

    async def work(scripts: Scripts, processor: Processor) -> list[Json]:
        seconds, micros = await scripts.client.time()
        now = int(seconds) * 1000 + int(micros) // 1000
        return [
            {
                **_summary(each, processor),
                "age_ms": None if each.at_ms is None else max(0, now - each.at_ms),
            }
            for each in (await snapshots_of(scripts, processor)).values()
        ]

    found = _work(target, redis_url, "list", work)
    if json_lines:
        for each in found:
            report(json.dumps(each))
        return
    rows = [
        (
            each["name"],
            _when(each["at_ms"]).replace(" ", "T", 1).removesuffix(" UTC"),
            duration(each["age_ms"]),
            "yes" if each["complete"] else "no",
            sum(each["tables"].values()),
            ", ".join(each["tables"]) or "-",
        )
        for each in found
    ]
    report("\n".join(columns("SNAPSHOT TAKEN AGE COMPLETE KEYS TABLES", rows)))


async def _named(scripts: Scripts, processor: Processor, name: str) -> Snapshot:
    known = await snapshots_of(scripts, processor)
    if name not in known:
        raise ConfigError(
            f"{processor.name} has no snapshot {name!r}; it has {', '.join(known) or 'none'}"
        )
    return known[name]


@click.command(
    short_help="Go back to a snapshot.",
    epilog=exits.epilog(
        "runnel table restore example:book monday",
        "runnel table restore example:book monday --execute",
    ),
)
@click.argument("target")
@click.argument("name")
@click.option("--execute", is_flag=True, help="Restore. Without it, only say what would be done.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Even if events after the snapshot have left the log: they will be missing in the tables.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@urls.option
def restore(
    target: str, name: str, execute: bool, accept_loss: bool, as_json: bool, redis_url: str | None
) -> None:
    """Go back to a snapshot: to its tables, and to the checkpoints that they belong to.

    The processor then processes all later events once more, and its tables have right totals when
    it has caught up. Running workers are fenced and continue from there. On each partition the
    tables and the checkpoint change together. If the command is cut off, run it again: partitions
    that it has printed are done, the others are as they were. The snapshot is kept.
    """

    async def work(scripts: Scripts, processor: Processor) -> Json:
        found = await _named(scripts, processor, name)
        returns = await operations.returns_of(scripts, processor, found)
        lost = {each.number: each.lost for each in returns if each.lost}
        if lost and not accept_loss:
            raise ConfigError(
                f"{sum(lost.values())} events after the snapshot {name} have left the log of "
                f"{those(lost)}: without them the tables would be wrong. Give --accept-loss if "
                "that is right"
            )
        rows: list[Json] = []
        if execute:
            async for number, checkpoint in operations.restore(scripts, processor, name, returns):
                rows.append({"id": number, "checkpoint": checkpoint})
                if not as_json:
                    report(f"{number} {checkpoint}")
        return {
            **_summary(found, processor),
            "again": sum(each.again for each in returns),
            "lost": sum(lost.values()),
            "partitions": rows or [{"id": each.number, "checkpoint": None} for each in returns],
            "executed": execute,
        }

    done = _work(target, redis_url, "restore", work)
    if as_json:
        report(json.dumps(done))
        return
    what = f"{done['processor']} to the snapshot {name} of {_when(done['at_ms'])}"
    count = many(len(done["partitions"]))
    if execute:
        report(f"restored {what} on {count}: {_tables(done['tables'])}")
        return
    report(
        f"would restore {what} on {count}: {_tables(done['tables'])}; {done['again']} events would "
        "be processed again. Nothing was changed: give --execute"
    )


@click.command(
    name="delete-snapshot",
    short_help="Delete a snapshot.",
    epilog=exits.epilog("runnel table delete-snapshot example:book monday --execute"),
)
@click.argument("target")
@click.argument("name")
@click.option("--execute", is_flag=True, help="Delete. Without it, only say what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@urls.option
def delete_snapshot(
    target: str, name: str, execute: bool, as_json: bool, redis_url: str | None
) -> None:
    """Delete a snapshot. The tables themselves stay as they are."""

    async def work(scripts: Scripts, processor: Processor) -> Json:
        found = await _named(scripts, processor, name)
        if execute:
            await snapshot_parts.delete(scripts, processor, found)
        return {**_summary(found, processor), "executed": execute}

    done = _work(target, redis_url, "delete", work)
    if as_json:
        report(json.dumps(done))
        return
    what = f"the snapshot {name} of {done['processor']}: {_tables(done['tables'])}"
    if execute:
        report(f"deleted {what}")
    else:
        report(f"would delete {what}. Nothing was deleted: give --execute")
