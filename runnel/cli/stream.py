"""The commands ``runnel stream create``, ``list``, ``show``, ``trim`` and ``delete``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from runnel import keys
from runnel.cli import exits, stream_view
from runnel.cli.asking import agree
from runnel.cli.numbers import Age
from runnel.cli.output import report
from runnel.cli.partition_option import chosen_partitions
from runnel.cli.partition_option import option as partition_option
from runnel.cli.running import with_scripts
from runnel.cli.stream_target import choose, options
from runnel.cli.target import load_app
from runnel.cli.urls import REDIS_URL
from runnel.connection.environment import url_of_environment
from runnel.connection.url_text import redacted
from runnel.operations import admin, inspection, stream_admin
from runnel.operations.figures import Json
from runnel.operations.registry_entry import Entry
from runnel.operations.removing import parked_events
from runnel.operations.stream_admin import Trim, Trimmed
from runnel.operations.stream_from_registry import spec_without_code
from runnel.operations.waiting import count
from runnel.preflight.checks import check_deletion
from runnel.preflight.server import check_server
from runnel.preflight.stream_checks import check_stream
from runnel.protocol.scripts import Scripts
from runnel.retention import Retention
from runnel.settings import Settings
from runnel.stream import StreamSpec

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(
    epilog=exits.epilog(
        "runnel stream show example:orders",
        "runnel stream trim example:orders --older-than 7d --execute",
        codes=(),
    )
)
def stream() -> None:
    """Administer a stream, such as example:orders."""


@stream.command(
    short_help="Declare a stream in Redis.",
    epilog=exits.epilog(
        "runnel stream create example:orders",
        "runnel stream create --app shop --stream orders --partitions 16 --max-age 7d",
    ),
)
@click.argument("target", required=False)
@options
@click.option("--partitions", type=click.IntRange(1, 10_000), help="Its partition count.")
@click.option("--partition-size", type=click.IntRange(2, 10**9), help="Events of a partition.")
@click.option("--max-age", type=Age(), help="When committed events leave, such as 7d.")
@click.option(
    "--retain",
    type=click.Choice(["always", "until_full"]),
    help="What happens to events while nobody reads the stream.",
)
@_JSON
def create(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
    as_json: bool,
    **declared: Any,
) -> None:
    """Declare a stream in Redis: what its code declares, or without code what the options say.

    Nobody has to: the first event or worker does it. It fixes the partition count, on all
    partitions. The size, the age and --retain are noted for those who look; what the programs say
    that send and process is what counts, and a worker that starts notes that. To run it again is
    safe: it changes what is noted. If the partition count is another one, it exits with 4.
    """
    found = choose(target, redis_url, app_name, stream_name)
    if found.stream is not None:
        if any(each is not None for each in declared.values()):
            raise click.UsageError("the code of the TARGET says how the stream is declared")
        spec = found.stream.spec
    else:
        spec = _spec(found.app, found.name, **declared)

    async def work(scripts: Scripts) -> bool:
        await check_stream(scripts, spec, "create", found.url)
        return await stream_admin.create(scripts, spec)

    new = with_scripts(found.url, work)
    if as_json:
        seen = {"app": spec.app, "name": spec.name, "partition_count": spec.partition_count}
        report(json.dumps({**seen, "created": new}))
    else:
        report(stream_view.declared(spec, new))


def _spec(
    app: str,
    name: str,
    partitions: int | None,
    partition_size: int | None,
    max_age: int | None,
    retain: str | None,
) -> StreamSpec[Any]:
    """A stream without code."""
    if partitions is None:
        raise click.UsageError("give --partitions, or a TARGET whose code says it")
    size = partition_size or Settings.model_fields["partition_size"].default
    kept = Retention(max_age or 0, "drop_unread" if retain == "until_full" else "refuse")
    return spec_without_code(keys.check_name("app", app), name, Entry(partitions, name, size, kept))


@stream.command(
    "list",
    short_help="List the streams of an app, or of all apps.",
    epilog=exits.epilog("runnel stream list example:app", "runnel stream list --redis-url URL"),
)
@click.argument("target", required=False)
@click.option("--redis-url", type=REDIS_URL, help="URL of Redis. Sufficient without a TARGET.")
@click.option("--app", "app_name", help="Only this app, if no TARGET is given.")
@_JSON
def list_(target: str | None, redis_url: str | None, app_name: str | None, as_json: bool) -> None:
    """List the streams that workers or `runnel stream create` have declared in Redis."""
    if target and app_name:
        raise click.UsageError("give a TARGET or --app, not both")
    app = load_app(target) if target else None
    url = redis_url or (app.settings.redis_url if app else url_of_environment())
    if not url:
        raise click.UsageError("give a TARGET such as example:app, or --redis-url")

    async def work(scripts: Scripts) -> list[Json]:
        server = await check_server(scripts.client, url)
        if app_name:
            await inspection.check_app(scripts.client, app_name, url)
        name = app.name if app else app_name
        found: list[Json] = (await inspection.inspect(scripts.client, server, name))["streams"]
        return found

    rows = with_scripts(url, work)
    report(json.dumps({"streams": rows}) if as_json else "\n".join(stream_view.rows(rows)))


@stream.command(
    short_help="Show a stream: what it holds, for how long, and who reads it.",
    epilog=exits.epilog(
        "runnel stream show example:orders",
        "runnel stream show shop/orders --redis-url redis://HOST",
    ),
)
@click.argument("target", required=False)
@options
@_JSON
def show(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
    as_json: bool,
) -> None:
    """Show a stream: its contract, its size and age, its events, who reads it, its memory.

    An unknown value is "?", and null in JSON. KEEPS are the partitions whose oldest events stay
    for that processor.
    """
    found = choose(target, redis_url, app_name, stream_name)

    async def work(scripts: Scripts) -> Json:
        spec = await found.spec(scripts)
        await check_stream(scripts, spec, "show", found.url)
        return await stream_admin.show(scripts, spec)

    seen = with_scripts(found.url, work)
    report(json.dumps(seen) if as_json else "\n".join(stream_view.lines(seen)))


@stream.command(
    short_help="Remove old events.",
    epilog=exits.epilog(
        "runnel stream trim example:orders --older-than 7d",
        "runnel stream trim example:orders --to-size 1000 --execute",
        "runnel stream trim shop/orders --redis-url redis://HOST --execute",
    ),
)
@click.argument("target", required=False)
@options
@click.option("--older-than", type=Age(), help="Remove events that are older, such as 7d or 12h.")
@click.option("--to-size", type=click.IntRange(1), help="Leave so many events of each partition.")
@partition_option
@click.option(
    "--drop-unprocessed",
    is_flag=True,
    help="Also remove events that processors have not committed: they count as LOST to them.",
)
@click.option("--execute", is_flag=True, help="Do it, instead of showing what would be done.")
@_JSON
def trim(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
    older_than: int | None,
    to_size: int | None,
    partitions: Sequence[Sequence[int]],
    drop_unprocessed: bool,
    execute: bool,
    as_json: bool,
) -> None:
    """Remove old events, by the options or, without them, by the max_age of the stream.

    Without --execute it shows what would leave. Never does what a registered processor has not
    committed, unless you say --drop-unprocessed; nor, while nobody reads the stream, anything of
    one that retains its events always. It works in small steps, while workers run.
    """
    found = choose(target, redis_url, app_name, stream_name)

    async def work(scripts: Scripts) -> tuple[str, Trimmed]:
        spec = await found.spec(scripts)
        await check_stream(scripts, spec, "trim", found.url)
        age = older_than or (spec.retention.max_age_ms if not to_size else 0)
        if not age and not to_size:
            exits.fail(
                f"stream {spec.name} has no max_age: give --older-than or --to-size", exits.USAGE
            )
        unread = spec.retention.when_full == "drop_unread"
        what = Trim(to_size or 0, age, drop_unprocessed, unread)
        numbers = chosen_partitions(spec, partitions)
        act = stream_admin.trim if execute else stream_admin.would_trim
        every = range(spec.partition_count)
        return spec.name, await act(scripts, spec, what, every if numbers is None else numbers)

    name, done = with_scripts(found.url, work)
    if as_json:
        report(json.dumps(stream_view.as_json(name, done, execute)))
    else:
        report("\n".join(stream_view.trimmed(name, done, execute)))


@stream.command(
    short_help="Delete a stream with all its events.",
    epilog=exits.epilog(
        "runnel stream delete example:orders",
        "runnel stream delete shop/orders --redis-url URL",
        codes=(*exits.ASKS, exits.REJECTED),
    ),
)
@click.argument("target", required=False)
@options
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
    yes: bool,
) -> None:
    """Delete a stream with all its events, delayed ones too, its tables and their snapshots, and
    the checkpoints of its processors with what they have parked."""
    found = choose(target, redis_url, app_name, stream_name)

    async def check(scripts: Scripts) -> tuple[StreamSpec[Any], int, int, list[str]]:
        spec = await found.spec(scripts)
        await check_deletion(scripts, spec, found.url)
        parked, delayed = await parked_events(scripts, spec), await count(scripts, spec)
        return spec, parked, delayed, await stream_admin.tables(scripts, spec)

    spec, parked, delayed, tables = with_scripts(found.url, check)
    dropped = [
        *([f"{parked} parked event{'' if parked == 1 else 's'} of its processors"] * bool(parked)),
        *([f"{delayed} delayed event{'' if delayed == 1 else 's'}"] * bool(delayed)),
    ]
    lost = " and ".join(dropped)
    if not yes:
        also = f", with the table{'s' * (len(tables) > 1)} {', '.join(tables)}" if tables else ""
        also += f", and {lost}" if lost else ""
        question = f"Delete all events of stream {spec.name} at {redacted(found.url)}{also}?"
        agree(question, "nothing was deleted")

    async def work(scripts: Scripts) -> int:
        return await admin.delete_stream(scripts, spec)

    deleted = with_scripts(found.url, work)
    report(f"deleted {spec.name}: {deleted} event{'' if deleted == 1 else 's'}")
    if lost:
        report(f"dropped {lost}")
