"""A process that sends: with Runnel and, unless told otherwise, by hand in turn, in one event loop.

    python -m benchmarks.sender one|later|bulk|bulk-alone COUNT

For each line on stdin it sends COUNT records in each way, and reports their figures.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import msgpack
from redis.asyncio import Redis

from benchmarks.job import job, run, say
from benchmarks.records import KINDS, declare, plain_order
from runnel import App

#: Records in one call when sending in bulk.
BULK = 1000


class Sender:
    """Sends the same orders in each way."""

    def __init__(self, count: int) -> None:
        this = job()
        self.count = count
        self.partitions = this.partitions
        self.app = App(f"bench-{secrets.token_hex(4)}", redis_url=this.url)
        self.stream = declare(self.app, "order", this.partitions)
        self.url = this.url
        self.records = [KINDS["order"].make(number) for number in range(count)]
        # By hand: the same values and partitions, and the keys are known.
        self.plain = [
            (f"by-hand:{number % this.partitions}", plain_order(number)) for number in range(count)
        ]

    @cached_property
    def redis(self) -> Redis:
        """The client of what is sent by hand, which knows single servers only."""
        return Redis.from_url(self.url, protocol=2, single_connection_client=True)

    async def ready(self) -> None:
        """Send to every partition once: connections, scripts and what a first append costs more are
        not measured."""
        reached: set[int] = set()
        for record in self.records:
            if len(reached) < self.partitions:
                reached |= {sent.partition for sent in await self.stream.send(record)}

    async def runnel_one(self) -> None:
        """One awaited send for each record."""
        send = self.stream.send
        for record in self.records:
            await send(record)

    async def runnel_later(self) -> None:
        """One awaited send with a delay for each record."""
        send = self.stream.send
        for record in self.records:
            await send(record, delay=3600)

    async def runnel_bulk(self) -> None:
        """A thousand records in each call."""
        send, records = self.stream.send, self.records
        for first in range(0, self.count, BULK):
            await send(*records[first : first + BULK])

    async def by_hand_one(self) -> None:
        """One awaited XADD for each record."""
        execute, pack = self.redis.execute_command, msgpack.packb
        for key, values in self.plain:
            await execute("XADD", key, "*", "msgpack", pack(values))  # type: ignore[no-untyped-call]

    async def by_hand_bulk(self) -> None:
        """A thousand XADDs in each pipeline."""
        pack = msgpack.packb
        for first in range(0, self.count, BULK):
            pipeline = self.redis.pipeline(transaction=False)
            for key, values in self.plain[first : first + BULK]:
                pipeline.execute_command("XADD", key, "*", "msgpack", pack(values))
            await pipeline.execute()

    async def beside_by_hand(self, way: str) -> dict[str, Any]:
        """The figures of both; then all events are removed. What a delay costs is compared with a
        send without one."""
        ways = {
            "one": (self.by_hand_one, self.runnel_one),
            "later": (self.runnel_one, self.runnel_later),
            "bulk": (self.by_hand_bulk, self.runnel_bulk),
        }
        by_hand, runnel = ways[way]
        found = {"by_hand": await self.timed(by_hand), "runnel": await self.timed(runnel)}
        await self.redis.flushall()
        await self.ready()
        return found

    async def timed(self, send: Callable[[], Awaitable[None]]) -> dict[str, float]:
        """Records per second, and microseconds of CPU of client and server for each."""
        spent = await self.server_cpu()
        found = await self.timed_alone(send)
        found["server_us"] = (await self.server_cpu() - spent) / self.count * 1e6
        return found

    async def timed_alone(self, send: Callable[[], Awaitable[None]]) -> dict[str, float]:
        """The same without the server's."""
        began, cpu = time.perf_counter(), time.process_time()
        await send()
        seconds = time.perf_counter() - began
        client = (time.process_time() - cpu) / self.count * 1e6
        return {"rate": self.count / seconds, "client_us": client}

    async def server_cpu(self) -> float:
        """Seconds of CPU that the server has used."""
        info: Any = await self.redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def main(way: str, count: int) -> None:
    """A round for each line on stdin."""
    sender = Sender(count)
    await sender.ready()
    say(ready=True)
    while await asyncio.to_thread(sys.stdin.readline):
        if way == "bulk-alone":
            say(round=await sender.timed_alone(sender.runnel_bulk))
        else:
            say(round=await sender.beside_by_hand(way))


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2])))
