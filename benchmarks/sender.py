"""A process that sends: with Runnel and by hand in turn, in one event loop.

It reads how much to send from its arguments and prints a line of JSON for each round.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgpack
from redis.asyncio import Redis

from benchmarks.gate import say
from benchmarks.job import job
from benchmarks.records import KINDS, declare, order_values
from benchmarks.sampler import Sampler
from runnel import App

#: Records in one call when sending in bulk.
BULK = 1000


class Sender:
    """Sends `count` orders in each way. `retaining` streams are full of events that all have
    passed, so that each send must make room."""

    def __init__(self, count: int) -> None:
        self.job = job()
        self.count = count
        self.app = App(f"bench-{secrets.token_hex(4)}", redis_url=self.job.url)
        self.stream = declare(self.app, "order", self.job.partitions)
        self.redis = Redis.from_url(self.job.url, protocol=2, single_connection_client=True)
        make = KINDS["order"].make
        self.records = [make(number) for number in range(count)]
        # By hand: the same values and partitions, and the keys are known.
        self.plain = [
            (
                f"by-hand:{number % self.job.partitions}",
                {
                    **order_values(number),
                    "created_at": order_values(number)["created_at"].isoformat(),
                },
            )
            for number in range(count)
        ]

    async def ready(self) -> None:
        """Connections, scripts and agreement come before the clock."""
        await self.begin()
        await self.redis.execute_command("PING")  # type: ignore[no-untyped-call]

    async def empty(self) -> None:
        """Begin again with no events."""
        await self.redis.flushall()
        await self.begin()

    async def begin(self) -> None:
        """Send to every partition once: what a first append costs more is not measured."""
        reached: set[int] = set()
        for record in self.records:
            if len(reached) < self.job.partitions:
                reached |= {sent.partition for sent in await self.stream.send(record)}

    async def close(self) -> None:
        """Close all connections."""
        await self.app.close()
        await self.redis.aclose()

    async def runnel_one(self) -> None:
        """One awaited send for each record."""
        send = self.stream.send
        for record in self.records:
            await send(record)

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


async def timed(sender: Sender, send: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Records per second, and microseconds of CPU of client and server for each."""
    spent = await server_cpu(sender.redis)
    began, cpu = time.perf_counter(), time.process_time()
    await send()
    seconds = time.perf_counter() - began
    return {
        "rate": sender.count / seconds,
        "client_us": (time.process_time() - cpu) / sender.count * 1e6,
        "server_us": (await server_cpu(sender.redis) - spent) / sender.count * 1e6,
    }


async def server_cpu(redis: Redis) -> float:
    """Seconds of CPU that the server has used."""
    info: Any = await redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def main(way: str, count: int, rounds: int) -> None:
    """Both ways in turn, so often."""
    sender = Sender(count)
    ways: dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = {
        "one": (sender.by_hand_one, sender.runnel_one),
        "bulk": (sender.by_hand_bulk, sender.runnel_bulk),
    }
    by_hand, runnel = ways[way]
    await sender.ready()
    sampler = Sampler() if sender.job.profile else None
    for _ in range(rounds):
        theirs = await timed(sender, by_hand)
        if sampler:
            sampler.start()
        ours = await timed(sender, runnel)
        profile: Any = sampler.stop() if sampler else None
        say(round={"by_hand": theirs, "runnel": ours, "profile": profile})
        await sender.empty()
    await sender.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    """On uvloop, if it is there."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
