"""Reads the events that arrive, for ``runnel tail --follow``, and outlasts outages of Redis."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import click
from redis.exceptions import ConnectionError, MovedError, RedisError

from runnel import keys
from runnel.cli.output import reader_left
from runnel.cli.running import explained
from runnel.connection.redis_client import Arg
from runnel.core.reading import Raw
from runnel.operations.log_pages import Found, PageSize, described
from runnel.protocol import text
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

#: Milliseconds that a read waits for events.
BLOCK_MS = 1000
#: Seconds between two polls of a cluster, where no read can wait for several slots: at first, and
#: the longer no event comes.
SOON, LATER = 0.01, 0.25
#: Seconds between two attempts in an outage, at first and at most.
RETRY, RETRY_MOST = 0.1, 2.0


async def follow(
    scripts: Scripts, spec: StreamSpec[Any], ends: dict[int, str], url: str
) -> AsyncGenerator[Found]:
    """The events after the ids in `ends`, without end: those of a partition in order, those of
    several as they arrive.

    If Redis does not answer, it says so on stderr, and goes on after the last event that it read.
    Raises BrokenPipeError once nobody reads the output.
    """
    reader, outage = _Reader(scripts, spec, dict(ends)), _Outage(url)
    while True:
        if reader_left():
            raise BrokenPipeError(errno.EPIPE, "nobody reads the output")
        try:
            if outage.began is not None:
                await reader.look_back()
            events = await reader.read()
        except (RedisError, OSError) as error:
            await outage.goes_on(error)
            continue
        outage.over()
        for found in events:
            yield found


class _Outage:
    """Says when Redis stops to answer, and when it answers again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pause = RETRY
        self.began: float | None = None

    async def goes_on(self, error: RedisError | OSError) -> None:
        """Redis does not answer. Waits a little."""
        if self.began is None:
            self.began, self._pause = time.monotonic(), RETRY
            click.echo(f"waiting: {explained(error, self._url)[0]}", err=True)
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, RETRY_MOST)

    def over(self) -> None:
        """Redis answers."""
        if self.began is not None:
            seconds = time.monotonic() - self.began
            click.echo(f"Redis answers again, after {seconds:.1f} s", err=True)
        self.began = None


class _Reader:
    """Reads the partitions after their cursors."""

    def __init__(self, scripts: Scripts, spec: StreamSpec[Any], cursors: dict[int, str]) -> None:
        self._scripts = scripts
        self._spec = spec
        self._cursors = cursors
        self._numbers = {keys.log(spec.prefix(number)): number for number in cursors}
        self._size = PageSize(len(cursors))
        self._pause = SOON

    async def look_back(self) -> None:
        """After an outage: a server that has forgotten its last events gives new ones smaller ids
        than the cursor has. So go on behind the last event that it has."""
        await self._scripts.deployment.refresh()
        held = await described(self._scripts, self._spec, self._cursors)
        for number, each in held.items():
            last = each.last
            if parts(last) < parts(self._cursors[number]):
                lost = "all its events" if last == "0-0" else f"its events after {last}"
                seen = self._cursors[number]
                click.echo(
                    f"partition {number}: Redis has lost {lost}; the last one here was {seen}",
                    err=True,
                )
                self._cursors[number] = last

    async def read(self) -> list[Found]:
        """What has arrived, by the time in the ids. It may be nothing."""
        deployment = self._scripts.deployment
        replies = await (self._poll() if deployment.one_slot else self._block())
        found: list[Found] = []
        for reply in replies:
            if isinstance(reply, MovedError):
                await deployment.refresh()
                raise ConnectionError("a partition has moved to another node") from reply
            if isinstance(reply, Exception):
                raise reply
            for log, entries in reply or ():
                found += self._taken(text(log), entries)
        found.sort(key=lambda each: (*parts(each.id), each.partition))
        await self._rest(bool(found), deployment.one_slot)
        return found

    def _taken(self, log: str, entries: Sequence[Raw]) -> list[Found]:
        number = self._numbers[log]
        self._size.saw(entries)
        self._cursors[number] = text(entries[-1][0])
        return [Found(number, text(id_), fields) for id_, fields in entries]

    async def _block(self) -> list[Any]:
        wait: tuple[Arg, ...] = ("COUNT", self._size.limit, "BLOCK", BLOCK_MS)
        command = ("XREAD", *wait, "STREAMS", *self._numbers, *self._cursors.values())
        return await self._scripts.client.roundtrip([command], BLOCK_MS / 1000)

    async def _poll(self) -> list[Any]:
        limit = self._size.limit
        commands = [
            (log, ("XREAD", "COUNT", limit, "STREAMS", log, self._cursors[number]))
            for log, number in self._numbers.items()
        ]
        return await self._scripts.deployment.send(commands)

    async def _rest(self, found: bool, polling: bool) -> None:
        """Between two polls; with events, not at all."""
        if found or not polling:
            self._pause = SOON
            return
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LATER)
