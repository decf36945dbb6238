"""``runnel send`` and ``runnel sendmany``."""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from runnel.cli import exits
from runnel.cli.target import load_stream
from runnel.errors import Full, RecordError, RunnelError
from runnel.producer import Stream

#: Lines sent together.
CHUNK = 1000


@click.command(epilog=exits.EPILOG)
@click.argument("target")
@click.argument("record")
@click.option("--redis-url", help="Where Redis is, instead of what the app says.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead of PARTITION ID.")
def send(target: str, record: str, redis_url: str | None, as_json: bool) -> None:
    """Send one RECORD, given as JSON, to a stream; prints its partition and id."""
    stream = _stream(target, redis_url)
    parsed = _parse(stream, record)

    async def work() -> None:
        try:
            (sent,) = await stream.send(parsed)
        finally:
            await stream.app.close()
        if as_json:
            click.echo(json.dumps({"partition": sent.partition, "id": sent.id}))
        else:
            click.echo(f"{sent.partition} {sent.id}")

    exits.run(work(), stream.app.settings.redis_url)


@click.command(epilog=exits.EPILOG)
@click.argument("target")
@click.argument("file")
@click.option("--redis-url", help="Where Redis is, instead of what the app says.")
@click.option("--strict", is_flag=True, help="Check every line first; send none if one is bad.")
@click.option("--no-wait", is_flag=True, help="Fail when a partition is full instead of waiting.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as an object.")
def sendmany(
    target: str, file: str, redis_url: str | None, strict: bool, no_wait: bool, as_json: bool
) -> None:
    """Send the JSON lines of FILE (plain or .gz; - is stdin) to a stream.

    Bad lines are reported with their number and the reason, the good ones are sent, and the exit
    code is 5. A full partition is waited for. When it was cut off, running it again sends the
    lines again: it does not know which ones had arrived.
    """
    stream = _stream(target, redis_url)
    lines = _lines(file)
    bad = 0
    if strict:
        kept = list(lines)
        bad = sum(1 for number, line in kept if _parsed(stream, number, line) is None)
        if bad:
            exits.fail(f"{bad} bad lines; none of {len(kept)} was sent", exits.REJECTED)
        lines = iter(kept)
    sent = rejected = 0
    started = time.monotonic()

    async def work() -> None:
        nonlocal sent, rejected
        chunk: list[Any] = []

        async def flush() -> None:
            nonlocal sent
            if chunk:
                sent += len(await stream.send(*chunk, wait=not no_wait))
                chunk.clear()
                _progress(sent, started)

        try:
            for number, line in lines:
                record = _parsed(stream, number, line)
                if record is None:
                    rejected += 1
                    continue
                chunk.append(record)
                if len(chunk) == CHUNK:
                    await flush()
            await flush()
        except Full as error:
            exits.fail(f"{error}; {sent} were sent, and perhaps part of the next", exits.REJECTED)
        finally:
            await stream.app.close()

    exits.run(work(), stream.app.settings.redis_url)
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps({"sent": sent, "rejected": rejected, "seconds": round(seconds, 3)}))
    else:
        click.echo(f"sent {sent}, rejected {rejected}, {sent / seconds:.0f} a second")
    if rejected:
        sys.exit(exits.REJECTED)


def _stream(target: str, redis_url: str | None) -> Stream[Any]:
    stream = load_stream(target)
    if redis_url:
        stream.app.configure(redis_url=redis_url)
    return stream


def _parse(stream: Stream[Any], text: str) -> Any:
    try:
        return stream.spec.codec.record_type.from_json(text)
    except RecordError as error:
        exits.fail(f"{error}. Nothing was sent.", exits.REJECTED)


def _parsed(stream: Stream[Any], number: int, line: bytes) -> Any:
    """The record of a line that can be sent, or None after saying why not."""
    try:
        record = stream.spec.codec.record_type.from_json(line)
        stream.spec.partition(record)
        stream.spec.encode(record)
    except RunnelError as error:
        click.echo(f"line {number}: {error}", err=True)
        return None
    return record


def _lines(file: str) -> Iterator[tuple[int, bytes]]:
    try:
        source: Any
        if file == "-":
            source = sys.stdin.buffer
        elif file.endswith(".gz"):
            source = gzip.open(file)  # noqa: SIM115 - closed with the process
        else:
            source = open(file, "rb")  # noqa: SIM115
        for number, line in enumerate(source, 1):
            if line.strip():
                yield number, line
    except OSError as error:
        exits.fail(f"cannot read {file}: {error.strerror or error}", exits.USAGE)


def _progress(sent: int, started: float) -> None:
    if sys.stderr.isatty():
        rate = sent / max(time.monotonic() - started, 0.001)
        click.echo(f"\rsent {sent} · {rate:.0f} a second", err=True, nl=False)
