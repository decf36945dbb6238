"""A process that sends at a steady rate, in turns: a second with Runnel, a second by hand.

So both meet the same machine. Each record says when its sending began. One line on stdin starts it.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgpack
from redis.asyncio import Redis

from benchmarks.gate import say
from benchmarks.job import job
from benchmarks.records import TimedOrder, declare, order_values
from runnel import App


async def main(rate: int, seconds: int) -> None:
    """So many records a second, so many seconds in each way."""
    this = job()
    app = App("bench", redis_url=this.url)
    stream = declare(app, "timed", this.partitions)
    redis = Redis.from_url(this.url, protocol=2, single_connection_client=True)

    async def with_runnel(number: int) -> None:
        await stream.send(TimedOrder(**order_values(number), sent=time.monotonic()))

    async def by_hand(number: int) -> None:
        values = order_values(number)
        created = values["created_at"].isoformat()
        payload = msgpack.packb({**values, "created_at": created, "sent": time.monotonic()})
        key = f"by-hand:{number % this.partitions}"
        await redis.execute_command("XADD", key, "*", "msgpack", payload)  # type: ignore[no-untyped-call]

    # The first of each opens connections; `sent` 0 says that it does not count.
    await stream.send(*(TimedOrder(**order_values(i), sent=0.0) for i in range(100)))
    await redis.execute_command("PING")  # type: ignore[no-untyped-call]
    say(ready=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic()
    for turn in range(2 * seconds):
        send = by_hand if turn % 2 else with_runnel
        for number in range(turn * rate, (turn + 1) * rate):
            delay = began + number / rate - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            await send(number)
    await asyncio.sleep(0.5)  # So that the last one arrives.
    say(sent=rate * seconds)
    await app.close()
    await redis.aclose()


if __name__ == "__main__":
    work = main(int(sys.argv[1]), int(sys.argv[2]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
