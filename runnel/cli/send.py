"""The commands ``runnel send`` and ``runnel sendmany``."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import click

from runnel.cli import delayed, exits, urls
from runnel.cli.event_loop import Runner
from runnel.cli.lines import Line, blocks, open_lines
from runnel.cli.numbers import FOREVER, Wait, WithWait
from runnel.cli.output import report
from runnel.cli.running import reporting_errors, run
from runnel.cli.target import load_stream
from runnel.connection.connect import connect
from runnel.errors import InputCutOff, Mismatch, RecordError, RecordTooLarge, RunnelError
from runnel.preflight.checks import check_sender
from runnel.preflight.server import check_server
from runnel.producer.shares import BATCH
from runnel.protocol.scripts import Scripts
from runnel.stream import Stream


class Header(click.ParamType):  # type: ignore[type-arg]
    """A header: its name and its value."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} must have the form NAME=VALUE", param, ctx)
        if not _is_text(os.fsencode(value)):
            self.fail(f"{value!r} is not UTF-8", param, ctx)
        return name, text


_HEADERS = click.option(
    "--header",
    "headers",
    type=Header(),
    multiple=True,
    help="A header of the event. May be repeated.",
)
_IGNORE = click.option(
    "--ignore-unknown", is_flag=True, help="Leave out fields that the record does not have."
)
#: Seconds without progress before a warning.
_PATIENCE = 3.0


@click.command(
    cls=WithWait,
    epilog=exits.epilog(
        "runnel send example:orders "
        '\'{"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}\'',
        "runnel send example:orders - --header source=import --wait 30 < order.json",
        "runnel send example:orders '{…}' --delay 15m",
        codes=(*exits.ASKS, exits.REJECTED),
    ),
)
@click.argument("target")
@click.argument("record")
@urls.option
@_IGNORE
@_HEADERS
@click.option(
    "--wait",
    type=Wait(),
    is_flag=False,
    flag_value=FOREVER,
    metavar="[SECONDS]",
    help="Wait for room if the partition is full: so long, or until Ctrl-C.",
)
@delayed.options
@click.option("--json", "as_json", is_flag=True, help="Print an object instead of PARTITION ID.")
def send(
    target: str,
    record: str,
    redis_url: str | None,
    ignore_unknown: bool,
    headers: Sequence[tuple[str, str]],
    wait: bool | float | None,
    as_json: bool,
    **later: Any,
) -> None:
    """Send one RECORD, given as JSON, to a stream; prints its partition and id. If RECORD
    is -, it is read from stdin.

    A field that the stream's record does not have is an error, because it may be misspelt. The
    partition follows from the record, by partition_by of the stream: see `runnel partition`.
    What is sent later waits in Redis: see `runnel delayed`.
    """
    stream = _stream(target, redis_url)
    url = stream.app.settings.redis_url
    text = _read_stdin() if record == "-" else os.fsencode(record)
    if not _is_text(text):
        exits.fail("the RECORD is not UTF-8. Nothing was sent.", exits.REJECTED)

    async def work() -> None:
        try:
            parsed = stream.spec.codec.record_type.from_json(text, ignore_unknown)
        except RecordError as error:
            several = record == "-" and len(text.splitlines()) > 1 and "trailing" in str(error)
            fix = " (`runnel sendmany` sends one record a line)" if several else ""
            raise RecordError(_with_fix(error) + fix) from error
        await _check_redis(stream)
        try:
            sending = asyncio.ensure_future(
                stream.send(parsed, headers=dict(headers), wait=wait or False, **later)
            )
            if wait:
                await _warn_if_slow(sending)
            (sent,) = await sending
        finally:
            await stream.app.close()
        report(delayed.sent_text(sent, as_json))

    run(work(), url)


@click.command(
    epilog=exits.epilog(
        "runnel sendmany example:orders orders.jsonl.gz",
        "tail -f orders.jsonl | runnel sendmany example:orders -",
        codes=(*exits.ASKS, exits.REJECTED),
    )
)
@click.argument("target")
@click.argument("file")
@urls.option
@_IGNORE
@_HEADERS
@click.option("--strict", is_flag=True, help="Check all lines first; send none if one is bad.")
@click.option("--no-wait", is_flag=True, help="Fail if a partition is full, instead of waiting.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as an object.")
def sendmany(
    target: str,
    file: str,
    redis_url: str | None,
    ignore_unknown: bool,
    headers: Sequence[tuple[str, str]],
    strict: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Send the JSON lines of FILE (plain or compressed by gzip; - is stdin) to a stream.

    Good lines are sent. Bad lines are reported with their number and the reason, and make the exit
    code 5. A line with a field that the record does not have is bad, because it may be misspelt.
    If a partition is full, the command waits. If it was interrupted, running it again sends lines
    again that have arrived: it cannot know which ones.
    """
    stream = _stream(target, redis_url)
    sending = Sending(stream, not no_wait, ignore_unknown, dict(headers))
    url = stream.app.settings.redis_url
    try:
        # Lines are read outside of the event loop, so that Ctrl-C interrupts a read that waits.
        with reporting_errors(url), open_lines(file) as source, Runner() as loop:
            lists: Iterable[list[Line]] = blocks(source, file)
            if strict:
                lists = _checked(sending, lists)
            loop.run(_check_redis(stream))
            sending.begun = True
            try:
                for lines in lists:
                    loop.run(sending.send(lines))
            finally:
                loop.run(stream.app.close())
    except InputCutOff as error:
        sending.summary(as_json)
        exits.fail(f"{error}; the good lines before that were sent", exits.REJECTED)
    except SystemExit:
        if sending.begun:
            sending.summary(as_json)
        raise
    sending.summary(as_json)
    sys.exit(exits.REJECTED if sending.rejected else exits.OK)


def _is_text(data: bytes) -> bool:
    """Is it UTF-8?"""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_stdin() -> bytes:
    """The record on stdin. Exits with 5 if it cannot be read."""
    with open_lines("-") as source:
        try:
            return source.read().removeprefix(codecs.BOM_UTF8)
        except OSError as error:
            exits.fail(f"stdin cannot be read: {error.strerror or error}", exits.REJECTED)


async def _warn_if_slow(work: asyncio.Future[Any]) -> bool:
    """Warn if it is not done after a while. Returns whether it did."""
    await asyncio.wait([work], timeout=_PATIENCE)
    if not work.done():
        click.echo(
            f"no progress for {_PATIENCE:.0f} s: is a partition full, and do workers run? "
            "`runnel inspect` shows it",
            err=True,
        )
        return True
    return False


class Sending:
    """One run of `sendmany`, with its counts."""

    def __init__(
        self, stream: Stream[Any], wait: bool, ignore_unknown: bool, headers: dict[str, str]
    ) -> None:
        self.stream = stream
        self.ignore_unknown = ignore_unknown
        self.headers = headers
        self.wait = wait
        self.sent = 0
        self.rejected = 0
        self.begun = False
        #: Is the outcome of a call unknown?
        self._unsure = False
        self._started = time.monotonic()
        self._warned = False

    async def send(self, lines: list[Line]) -> None:
        """Send the good lines, and report the bad ones."""
        by_partition: dict[int, list[Any]] = defaultdict(list)
        for number, line in lines:
            if parsed := self.parsed(number, line):
                by_partition[parsed[0]].append(parsed[1])
        work = asyncio.gather(
            *(self._send_to_one(each) for each in by_partition.values()), return_exceptions=True
        )
        if self.wait and not self._warned:
            self._warned = await _warn_if_slow(work)
        for outcome in await work:
            if isinstance(outcome, BaseException):
                self._unsure = not isinstance(outcome, Mismatch)
                raise outcome
        self._unsure = False
        self._show_progress()

    async def _send_to_one(self, records: list[Any]) -> None:
        """Send records to one partition in batches that arrive completely or not at all, so that
        the count is right."""
        size = max(1, min(BATCH, self.stream.spec.partition_size // 2))
        for at in range(0, len(records), size):
            batch = records[at : at + size]
            self._unsure = True
            await self.stream.send(*batch, headers=self.headers, wait=self.wait)
            self.sent += len(batch)

    def parsed(self, number: int, line: bytes) -> tuple[int, Any] | None:
        """The partition and record of a line, or None if it is bad, which is reported."""
        spec, most = self.stream.spec, self.stream.app.settings.max_record_bytes
        try:
            record = spec.codec.record_type.from_json(line, self.ignore_unknown)
            partition = spec.partition(record)
            size = sum(map(len, spec.encode(record, self.headers)))
            if size > most:
                raise RecordTooLarge(
                    f"the record takes {size} bytes, the setting max_record_bytes allows {most}"
                )
        except RunnelError as error:
            self.rejected += 1
            click.echo(f"line {number}: {_reason(number, line, error)}", err=True)
            return None
        return partition, record

    def summary(self, as_json: bool) -> None:
        """Report how many were sent: "at least" so many if the outcome of a call is unknown."""
        seconds = time.monotonic() - self._started
        if sys.stderr.isatty():
            click.echo(err=True)
        if as_json:
            counts = {"sent": self.sent, "rejected": self.rejected, "seconds": round(seconds, 3)}
            report(json.dumps(counts))
        else:
            about = "at least " if self._unsure else ""
            rate = self.sent / max(seconds, 0.001)
            report(f"sent {about}{self.sent}, rejected {self.rejected}, {rate:.0f} a second")

    def _show_progress(self) -> None:
        if sys.stderr.isatty():
            rate = self.sent / max(time.monotonic() - self._started, 0.001)
            click.echo(f"\rsent {self.sent} · {rate:.0f} a second", err=True, nl=False)


def _checked(sending: Sending, lists: Iterable[list[Line]]) -> list[list[Line]]:
    """All lines, if all are good. Else exits with 5."""
    kept: list[list[Line]] = []
    try:
        kept.extend(lists)
    except InputCutOff as error:
        exits.fail(f"{error}; nothing was sent", exits.REJECTED)
    total = sum(map(len, kept))
    bad = sum(1 for lines in kept for line in lines if sending.parsed(*line) is None)
    if bad:
        exits.fail(f"bad lines: {bad}; none of {total} was sent", exits.REJECTED)
    return kept


def _reason(number: int, line: bytes, error: RunnelError) -> str:
    """What is wrong with a line. First the problems that its parser does not know."""
    try:
        line.decode()
    except UnicodeDecodeError as broken:
        return f"not UTF-8: byte {line[broken.start]:#04x} at position {broken.start + 1}"
    if number == 1 and line.lstrip().startswith(b"[") and isinstance(error, RecordError):
        return f"{error} (a line must be one object; `jq -c '.[]'` makes lines of an array)"
    return _with_fix(error)


def _with_fix(error: RunnelError) -> str:
    unknown = ": no such field" in str(error)
    return f"{error} (--ignore-unknown leaves out such fields)" if unknown else str(error)


async def _check_redis(stream: Stream[Any]) -> None:
    """Fail at once if Redis does not answer, or does not permit the user to send."""
    url = stream.app.settings.redis_url
    client = connect(url)
    try:
        await check_server(client, url)
        durability = stream.app.settings.durability
        await check_sender(Scripts(client), stream.spec, durability, url)
    finally:
        await client.aclose()


def _stream(target: str, redis_url: str | None) -> Stream[Any]:
    stream = load_stream(target)
    if redis_url:
        stream.app.configure(redis_url=redis_url)
    return stream
