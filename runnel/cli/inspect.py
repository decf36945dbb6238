"""``runnel inspect``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from runnel.cli import exits
from runnel.cli.target import load_app
from runnel.connection import check_server, connect, shown

Json = dict[str, Any]


@click.command(epilog=exits.EPILOG)
@click.argument("target", required=False)
@click.option("--redis-url", help="Where Redis is; enough by itself, without any code.")
@click.option("--app", "app_name", help="Only this app.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (a line each with --watch).")
@click.option("--max-lag", type=int, help="Exit 10 if a processor lags more events behind.")
@click.option("--no-free", is_flag=True, help="Exit 11 if a partition is free.")
@click.option("--no-quarantined", is_flag=True, help="Exit 11 if a partition is quarantined.")
@click.option("--min-members", type=int, help="Exit 12 if a processor has fewer live members.")
@click.option(
    "--watch", type=float, is_flag=False, flag_value=2.0, help="Redraw every so many seconds (2)."
)
def inspect(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    as_json: bool,
    max_lag: int | None,
    no_free: bool,
    no_quarantined: bool,
    min_members: int | None,
    watch: float | None,
) -> None:
    """Show processors, partitions, members and streams, with their lag.

    Give a TARGET such as example:app, or only --redis-url. Unknown values are shown as "?" and
    are null in JSON. Exits 0 whatever it shows, unless a threshold is given; the gravest wins:
    12, then 11, then 10.
    """
    url = redis_url
    if target:
        app = load_app(target)
        url, app_name = redis_url or app.settings.redis_url, app.name
    if not url:
        raise click.UsageError("give a TARGET such as example:app, or --redis-url")
    while True:
        picture = exits.run(_picture(url, app_name), url)
        if as_json:
            click.echo(json.dumps(picture))
        else:
            if watch:
                click.clear()
            _show(picture, url)
        if watch is None:
            break
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            sys.exit(exits.OK)
    sys.exit(judge(picture, max_lag, no_free, no_quarantined, min_members))


async def _picture(url: str, app: str | None) -> Json:
    from runnel import report

    client = connect(url)
    try:
        return await report.inspect(client, await check_server(client, url), app)
    finally:
        await client.aclose()


def judge(
    picture: Json,
    max_lag: int | None,
    no_free: bool,
    no_quarantined: bool,
    min_members: int | None,
) -> int:
    """The exit code for the thresholds, with a reason for each one passed on stderr."""
    code = exits.OK
    for processor in picture["processors"]:
        name = f"{processor['app']}/{processor['name']}"
        states = [row["state"] for row in processor["partitions"]]
        lag = processor["lag_events"]
        if max_lag is not None and (lag is None or lag > max_lag):
            code = max(code, exits.LAG)
            told = "unknown" if lag is None else lag
            click.echo(f"{name}: lag is {told}, allowed {max_lag}", err=True)
        for state, forbidden in (("free", no_free), ("quarantined", no_quarantined)):
            if forbidden and state in states:
                code = max(code, exits.NOT_PROCESSING)
                click.echo(f"{name}: {states.count(state)} partitions are {state}", err=True)
        members = sum(
            1
            for each in picture["members"]
            if (each["app"], each["processor"]) == (processor["app"], processor["name"])
        )
        if min_members is not None and members < min_members:
            code = max(code, exits.NO_MEMBER)
            click.echo(f"{name}: {members} live members, wanted {min_members}", err=True)
    if min_members and not picture["processors"]:
        code = exits.NO_MEMBER
        click.echo("no processor is registered", err=True)
    return code


def _show(picture: Json, url: str) -> None:
    server = picture["server"]
    clock = time.strftime("%H:%M:%SZ", time.gmtime(picture["at_ms"] / 1000))
    click.echo(f"{server['kind']} {server['version']} · {shown(url)} · {clock}")
    _table(
        "PROCESSOR STREAM PARTITIONS OWNED MEMBERS LAG LAG_MS STATE",
        [
            (
                f"{each['app']}/{each['name']}",
                each["stream"],
                len(each["partitions"]),
                sum(1 for row in each["partitions"] if row["owner"]),
                sum(
                    1
                    for member in picture["members"]
                    if (member["app"], member["processor"]) == (each["app"], each["name"])
                ),
                each["lag_events"],
                each["lag_ms"],
                each["state"],
            )
            for each in picture["processors"]
        ],
    )
    for each in picture["processors"]:
        click.echo(f"\n{each['app']}/{each['name']}")
        _table(
            "P STATE OWNER EPOCH SESSION_MS CHECKPOINT LAST LAG LAG_MS PROCESSED LOST NOTE",
            [_partition_row(row) for row in each["partitions"]],
        )
    if picture["members"]:
        click.echo()
        _table(
            "MEMBER PROCESSOR HOST:PID LANG VERSION PARTITIONS SEEN_MS",
            [
                (
                    each["id"],
                    f"{each['app']}/{each['processor']}",
                    f"{each['host']}:{each['pid']}",
                    each["lang"],
                    each["version"],
                    ",".join(map(str, each["partitions"])) or "-",
                    each["seen_ms"],
                )
                for each in picture["members"]
            ],
        )
    if picture["streams"]:
        click.echo()
        _table(
            "STREAM PARTITIONS LENGTH",
            [
                (f"{each['app']}/{each['name']}", each["partition_count"], each["length"])
                for each in picture["streams"]
            ],
        )


def _partition_row(row: Json) -> tuple[Any, ...]:
    error = row["error"]
    note = f"{error['type']} at {error['event']}: {error['message'][:60]}" if error else ""
    return (
        row["id"],
        row["state"],
        row["owner"] or "-",
        row["epoch"] or "-",
        row["session_left_ms"] if row["owner"] else "-",
        row["checkpoint"],
        row["last"],
        row["lag_events"],
        row["lag_ms"],
        row["processed"],
        row["lost"],
        note,
    )


def _table(heads: str, rows: list[tuple[Any, ...]]) -> None:
    """Aligned columns: coloured on a terminal, plain when piped."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads.split():
        table.add_column(head, no_wrap=True)
    for row in rows:
        table.add_row(*("?" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 400
    Console(width=width, highlight=False, markup=False).print(table)
