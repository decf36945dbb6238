"""``runnel processor resume --skip``: shows the failed events, asks, and skips them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from runnel.app import App
from runnel.cli.asking import agree
from runnel.cli.event_lines import compact, key_text, printable
from runnel.cli.output import report
from runnel.errors import ConfigError, Full, RunnelError
from runnel.log import one_line
from runnel.operations.log_pages import Found
from runnel.operations.partition_ranges import many
from runnel.operations.readable import Reader
from runnel.operations.skipping import Failed, failed_event
from runnel.operations.skipping import skip as skip_event
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec


async def look(
    scripts: Scripts, app: App | None, found: Processor, chosen: list[int], named: bool
) -> dict[int, str]:
    """Show what would be skipped: the failed event of each partition with its record, so that a
    copy is left. `app` is None without code. Returns the events by partition."""
    declared: Mapping[str, StreamSpec[Any]] | None = None
    if app is not None:
        declared = {each.name: each.spec for each in app.streams.values()}
    reader, events = Reader(found.stream, declared), dict[int, str]()
    for number in chosen:
        failed = await failed_event(scripts, found, number, named)
        if isinstance(failed, Failed):
            events[number] = failed.event
            report("\n".join(lines(reader, number, failed)))
        elif failed:
            click.echo(f"partition {number}: {failed}", err=True)
    return events


def lines(reader: Reader, number: int, failed: Failed) -> list[str]:
    """A failed event for people: where it is, how it failed, and its record or its fields."""
    head = f"partition {number}: event {failed.event}"
    times = f"failed {failed.attempts} time{'' if failed.attempts == 1 else 's'}"
    error = one_line(failed.error)
    if failed.fields is None:
        return [f"{head}, {times}: {error}", "  the event itself is gone"]
    event = reader.read(Found(number, failed.event, failed.fields))
    key = "" if event["key"] is None else f", key {key_text(event)}"
    shown = [f"{head}{key}, {times}: {error}"]
    if event["headers"]:
        shown.append(f"  headers: {printable(compact(event['headers']))}")
    if "unreadable" in event:
        shown.append(f"  unreadable: {printable(event['unreadable'])}")
        return [*shown, f"  fields: {printable(compact(event['fields']))}"]
    return [*shown, f"  record: {printable(compact(event['record']))}"]


def ask(found: Processor, events: Mapping[int, str], named: bool) -> None:
    """Say what becomes of these events, and ask. Ends the command unless the answer is yes."""
    one = len(events) == 1
    if not (one or named):
        several = f"{many(len(events))} of {found.name} have a failed event"
        click.echo(f"{several}: --partition N chooses one", err=True)
    if found.sink is None:
        kept = f"{found.name} keeps no dead letters: copy what is shown above if you need it"
    else:
        becomes = "It becomes a dead letter" if one else "They become dead letters"
        kept = f"{becomes} in {found.sink.name}"
    click.echo(kept, err=True)
    what = "this event" if one else f"these {len(events)} events"
    agree(f"Skip {what}?", "nothing was skipped or resumed")


async def skip(
    scripts: Scripts, found: Processor, events: Mapping[int, str], named: bool
) -> dict[int, RunnelError]:
    """Skip these events, by partition. Returns the errors by partition: such a partition stays as
    it is."""
    failed = dict[int, RunnelError]()
    for number, expected in events.items():
        try:
            event, reason = await skip_event(scripts, found, number, named, expected)
        except (ConfigError, Full) as error:
            failed[number] = error
            continue
        if event:
            kept = f"kept as a dead letter in {found.sink.name}" if found.sink else "skipped"
            report(f"partition {number}: event {event} {kept}")
        elif reason:
            click.echo(f"partition {number}: {reason}", err=True)
    return failed
