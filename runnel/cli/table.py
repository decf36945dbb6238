"""The commands ``runnel table``: list, get, scan, export, clear; and those of snapshots."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import click

from runnel.cli import exits, urls
from runnel.cli.output import report
from runnel.cli.running import with_scripts
from runnel.cli.snapshot import delete_snapshot, restore, snapshot, snapshots
from runnel.cli.tables import table as columns
from runnel.cli.target import load_app, load_table
from runnel.errors import ConfigError, RunnelError
from runnel.operations import table_admin
from runnel.operations.figures import total
from runnel.operations.table_admin import Part, writers_of
from runnel.preflight.checks import check_table
from runnel.protocol.scripts import Scripts
from runnel.table import Table
from runnel.table_reader import partition_of, read_committed

Json = dict[str, Any]


@click.group(epilog=exits.epilog("runnel table get example:balances alice", codes=()))
def table() -> None:
    """Read and administer tables, such as example:balances. Safe while workers run.

    Snapshots are of all tables of a processor, such as example:book.
    """


for _command in (snapshot, snapshots, restore, delete_snapshot):
    table.add_command(_command)


@table.command(
    name="list",
    short_help="Show the tables of an app.",
    epilog=exits.epilog("runnel table list example:app", "runnel table list example:app --json"),
)
@click.argument("target")
@click.option("--json", "json_lines", is_flag=True, help="Print a JSON object per line.")
@urls.option
def list_(target: str, json_lines: bool, redis_url: str | None) -> None:
    """Show the tables of an app: stream, writer, number of keys, and the bytes that Redis estimates
    for them, with ? if it does not tell. An unknown value is null in JSON."""
    app = load_app(target)
    url = redis_url or app.settings.redis_url

    async def work(scripts: Scripts) -> list[Json]:
        found = []
        for each in app.tables.values():
            await check_table(scripts, each, "list", url)
            found.append(_summary(each, await table_admin.parts_of(scripts, each)))
        return found

    found = with_scripts(url, work)
    if json_lines:
        for each in found:
            report(json.dumps(each))
        return
    rows = [
        (
            each["name"],
            each["stream"],
            ", ".join(each["writers"]) or "-",
            each["keys"],
            each["bytes"],
        )
        for each in found
    ]
    report("\n".join(columns("TABLE STREAM WRITER KEYS BYTES", rows)))


def _summary(found: Table[Any], parts: list[Part]) -> Json:
    return {
        "name": found.name,
        "stream": found.stream.name,
        "declared_writer": found.processor,
        "writers": writers_of(parts),
        "keys": total(each.keys for each in parts),
        "bytes": total(each.bytes for each in parts),
    }


@table.command(
    short_help="Print the value of a key.",
    epilog=exits.epilog(
        "runnel table get example:balances alice",
        "runnel table get example:limits 'limit of alice' --of alice",
        codes=(*exits.ASKS, exits.NO_VALUE),
    ),
)
@click.argument("target")
@click.argument("key")
@click.option(
    "--of",
    metavar="PARTITION_KEY",
    help="The partition key of the events that write KEY, if that is not KEY itself.",
)
@click.option("--json", "as_json", is_flag=True, help="Print key, value and partition, as JSON.")
@urls.option
def get(target: str, key: str, of: str | None, as_json: bool, redis_url: str | None) -> None:
    """Print the value of a KEY as JSON, as it was last committed. Exits with 6 if it has none."""
    found = load_table(target)
    url, name = redis_url or found.app.settings.redis_url, os.fsencode(key)
    number = partition_of(found.stream, name if of is None else os.fsencode(of))

    async def work(scripts: Scripts) -> bytes | None:
        await check_table(scripts, found, "get", url)
        values = await read_committed(scripts.deployment, found.stream, found.name, [name], number)
        return values[name]

    value = with_scripts(url, work)
    if value is None:
        exits.fail(f"table {found.name} has no value for {key!r}", exits.NO_VALUE)
    report(line(number, name, value) if as_json else value_text(number, name, value))


@table.command(
    short_help="Look at some keys.",
    epilog=exits.epilog(
        "runnel table scan example:balances",
        "runnel table scan example:balances --match 'customer-12*' --limit 100",
    ),
)
@click.argument("target")
@click.option("--match", metavar="GLOB", help="Only keys like this: * is any text, ? a character.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Show at most this many.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print a JSON object per line.")
@urls.option
def scan(
    target: str, match: str | None, limit: int, json_lines: bool, redis_url: str | None
) -> None:
    """Show some keys of a table with their values, in no order.

    It reads until it has found enough: with --match, perhaps all keys. Keys that are written
    meanwhile may be missing.
    """
    found = load_table(target)
    url = redis_url or found.app.settings.redis_url

    async def work(scripts: Scripts) -> list[tuple[int, bytes, bytes]]:
        await check_table(scripts, found, "export", url)
        rows: dict[tuple[int, bytes], bytes] = {}  # Redis may return a key twice.
        async for number, page in table_admin.export(scripts, found, match):
            rows |= {(number, key): value for key, value in page}
            if len(rows) >= limit:
                break
        return [(number, key, value) for (number, key), value in rows.items()][:limit]

    rows = with_scripts(url, work)
    if json_lines:
        for row in rows:
            report(line(*row))
        return
    texts = [(key.decode(errors="replace"), number, value) for number, key, value in rows]
    lines = [(key, number, value_text(number, key.encode(), value)) for key, number, value in texts]
    report("\n".join(columns("KEY PARTITION VALUE", lines)))


@table.command(
    short_help="Print all keys with their values.",
    epilog=exits.epilog("runnel table export example:balances > balances.jsonl"),
)
@click.argument("target")
@click.option("--json", "_", is_flag=True, help="What it prints is JSON without this option, too.")
@urls.option
def export(target: str, _: bool, redis_url: str | None) -> None:
    """Print all keys with their values: a JSON object per line, with key, value and partition.

    Keys are text: the integer 5 is "5". A key that is not text is in key_base64. Keys that are
    written meanwhile may be missing or come twice, the newer value last. Exits with 0 only if
    nothing else is missing.
    """
    found = load_table(target)
    url = redis_url or found.app.settings.redis_url

    async def work(scripts: Scripts) -> None:
        await check_table(scripts, found, "export", url)
        async for number, page in table_admin.export(scripts, found):
            if page:
                report("\n".join(line(number, key, value) for key, value in page))

    with_scripts(url, work)


def line(partition: int, key: bytes, value: bytes) -> str:
    """A key and its value as a JSON object. Raises RunnelError."""
    text = value_text(partition, key, value)
    return f'{{{_key_text(key)}, "value": {text}, "partition": {partition}}}'


def _key_text(key: bytes) -> str:
    try:
        return f'"key": {json.dumps(key.decode())}'
    except UnicodeDecodeError:
        return f'"key_base64": "{base64.b64encode(key).decode()}"'


def value_text(partition: int, key: bytes, value: bytes) -> str:
    """A stored value, which is JSON, in one line and otherwise unchanged. Raises RunnelError."""
    try:
        text = value.decode()
        json.loads(text)
    except ValueError as error:
        raise RunnelError(
            f"the value of {key!r} in partition {partition} is not JSON: {error}"
        ) from error
    return text.replace("\r", " ").replace("\n", " ")  # In JSON they stand between the words only.


@table.command(
    short_help="Delete all keys, so that another processor may write.",
    epilog=exits.epilog(
        "runnel table clear example:balances", "runnel table clear example:balances --execute"
    ),
)
@click.argument("target")
@click.option("--execute", is_flag=True, help="Delete. Without it, only say what would be deleted.")
@click.option("--force", is_flag=True, help="Even if workers run the processor that writes it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@urls.option
def clear(target: str, execute: bool, force: bool, as_json: bool, redis_url: str | None) -> None:
    """Delete all keys of a table, and forget its writer: another processor may write it then.

    Refuses while workers run the processor that writes it. With --force they continue with the
    empty table: their current events are processed again. Checkpoints stay as they are: to fill the
    table anew from older events, use `runnel processor reset`.
    """
    found = load_table(target)
    url = redis_url or found.app.settings.redis_url

    async def work(scripts: Scripts) -> Json:
        await check_table(scripts, found, "clear", url)
        parts = await table_admin.parts_of(scripts, found)
        writers = writers_of(parts)
        living = await table_admin.living_members(scripts, found, writers)
        if living and execute and not force:
            raise ConfigError(
                f"table {found.name}: {_workers(living)} {', '.join(writers)}, which writes it: "
                "stop them first, or give --force"
            )
        number = sum(each.keys or 0 for each in parts)
        if execute:
            number = await table_admin.clear(scripts, found, parts)
        return {
            "name": found.name,
            "writers": writers,
            "keys": number,
            "members": living,
            "executed": execute,
        }

    done = with_scripts(url, work)
    if as_json:
        report(json.dumps(done))
        return
    keys = f"{done['keys']} key{'' if done['keys'] == 1 else 's'}"
    by = f", written by {', '.join(done['writers'])}" if done["writers"] else ""
    if execute:
        report(f"cleared {found.name}: {keys}{by}")
        return
    report(f"would clear {found.name}: {keys}{by}. Nothing was deleted: give --execute")
    if done["members"] and not force:
        click.echo(
            f"warning: {_workers(done['members'])} {', '.join(done['writers'])}: stop them first, "
            "or give --force",
            err=True,
        )


def _workers(number: int) -> str:
    return "1 worker runs" if number == 1 else f"{number} workers run"
