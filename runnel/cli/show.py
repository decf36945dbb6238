"""The commands ``runnel show`` and ``runnel partition``: one event, and where a key goes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import click

from runnel import keys
from runnel.cli import event_lines, exits, stream_target
from runnel.cli.output import report
from runnel.cli.running import with_scripts
from runnel.cli.stream_target import Chosen
from runnel.operations.log_pages import Found, described
from runnel.operations.readable import with_key_text
from runnel.preflight.checks import check_reader
from runnel.protocol import shown
from runnel.protocol.ids import reached
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

Json = dict[str, Any]

_ID = re.compile(r"\d{1,20}-\d{1,20}")
_CHECKPOINT = "checkpoint:"


@click.command(
    epilog=exits.epilog(
        "runnel show example:orders 4 1795877224744-0",
        "runnel show 4 1795877224744-0 --redis-url redis://HOST --app myapp --stream orders",
        codes=(*exits.ASKS, exits.NO_VALUE),
    )
)
@click.argument("words", nargs=-1, metavar="[TARGET] PARTITION ID")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@stream_target.options
def show(
    words: Sequence[str],
    as_json: bool,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
) -> None:
    """Show one event: by its PARTITION and ID, as `runnel send`, `tail` and the logs name it.

    It has all that `runnel tail` shows, and the processors whose checkpoints have passed it:
    these have finished it, or set it aside (`runnel dead list`). Exits with 6 if there is no such
    event.
    """
    target, (first, id_) = stream_target.split(words, 2, app_name, "PARTITION ID")
    if not first.isdecimal():
        raise click.UsageError(f"PARTITION must be a number, not {first!r}")
    if not _ID.fullmatch(id_):
        raise click.UsageError(f"ID must have the form 1795877224744-0, not {id_!r}")
    stream = stream_target.choose(target, redis_url, app_name, stream_name)
    event = with_scripts(stream.url, lambda scripts: _event(scripts, stream, int(first), id_))
    report(event_lines.as_json(event) if as_json else _as_text(event))


async def _event(scripts: Scripts, stream: Chosen, number: int, id_: str) -> Json:
    spec = await stream.spec(scripts)
    await check_reader(scripts, spec, False, stream.url)
    if number >= spec.partition_count:
        most = spec.partition_count - 1
        exits.fail(f"PARTITION must be 0 to {most}, not {number}", exits.USAGE)
    log, meta = keys.log(spec.prefix(number)), keys.meta(spec.prefix(number))
    entries, flat = await scripts.deployment.ask(
        [(log, ("XRANGE", log, id_, id_, "COUNT", 1)), (meta, ("HGETALL", meta))]
    )
    if not entries:
        exits.fail(await _why_not(scripts, spec, number, id_), exits.NO_VALUE)
    event = stream.reader(spec).read(Found(number, id_, entries[0][1]))
    names = [shown(each) for each in flat]
    event["passed"] = {
        name.removeprefix(_CHECKPOINT): reached(checkpoint, id_)
        for name, checkpoint in zip(names[::2], names[1::2], strict=True)
        if name.startswith(_CHECKPOINT)
    }
    return event


async def _why_not(scripts: Scripts, spec: StreamSpec[Any], number: int, id_: str) -> str:
    held = (await described(scripts, spec, [number]))[number]
    here = f"partition {number} of stream {spec.name} has no event {id_}"
    if held.first is None:
        return f"{here}: it has no events"
    if not reached(id_, held.first):
        return f"{here}: the oldest one that is left is {held.first}"
    if not reached(held.last, id_):
        return f"{here}: the newest one is {held.last}"
    return f"{here}: see that both belong together"


def _as_text(event: Json) -> str:
    """One line for each part, and the record over several lines."""
    rows = [
        ("stream", event["stream"]),
        ("partition", str(event["partition"])),
        ("id", event["id"]),
        ("at", event["at"] or "-"),
        ("key", event_lines.key_text(event)),
    ]
    rows += [("header", f"{name}={value}") for name, value in event["headers"].items()]
    rows += [
        ("processor", f"the checkpoint of {name} has {'' if done else 'not '}passed it")
        for name, done in sorted(event["passed"].items())
    ]
    if "unreadable" in event:
        rows.append(("unreadable", event["unreadable"]))
    lines = [f"{name:11}{event_lines.printable(value)}" for name, value in rows]
    kind = "record" if "record" in event else "fields"
    body = json.dumps(event[kind], ensure_ascii=False, indent=2).splitlines()
    return "\n".join([*lines, f"{kind:11}", *(event_lines.printable(each) for each in body)])


@click.command(
    epilog=exits.epilog(
        "runnel partition example:orders 42",
        "runnel partition 42 --redis-url redis://HOST --app myapp --stream orders",
        codes=(*exits.ASKS, exits.REJECTED),
    )
)
@click.argument("words", nargs=-1, metavar="[TARGET] KEY")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@stream_target.options
def partition(
    words: Sequence[str],
    as_json: bool,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
) -> None:
    """Show which partition has the events of a KEY, and the name of its log in Redis.

    KEY is what partition_by gives: text as it is, a number in decimal, a UUID in lower case with
    dashes, an enum as its value. With a TARGET, Redis is not asked: the code decides.
    """
    target, (key,) = stream_target.split(words, 1, app_name, "KEY")
    stream, name = stream_target.choose(target, redis_url, app_name, stream_name), os.fsencode(key)
    spec = stream.stream.spec if stream.stream else with_scripts(stream.url, stream.spec)
    found = _place(spec, name)
    if as_json:
        report(json.dumps(with_key_text({**found, "key": name})))
        return
    shown = event_lines.key_text({"key": name})
    rows = [
        ("partition", f"{found['partition']} of {spec.partition_count}, counted from 0"),
        ("key", f"{shown} (bytes {name.hex(' ') or 'none'})"),
        ("hash", f"{found['hash']} {found['hash_value']}"),
        ("log", found["log"]),
    ]
    report("\n".join(f"{name:11}{value}" for name, value in rows))


def _place(spec: StreamSpec[Any], key: bytes) -> Json:
    value = spec.hasher(key)
    number = value % spec.partition_count
    return {
        "stream": spec.name,
        "partition": number,
        "partition_count": spec.partition_count,
        "key": None,
        "hash": spec.hasher.name,
        "hash_value": value,
        "log": keys.log(spec.prefix(number)),
    }
