"""A process that sends at a steady rate: a second with Runnel, a second by hand, in turn.

So the state of the machine affects both alike. Each record has the time at which its sending began.
A line on stdin starts it.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgpack
from redis.asyncio import Redis

from benchmarks.job import job, run, say
from benchmarks.records import TimedOrder, declare, order_values, plain_order
from runnel import App


async def main(rate: int, seconds: int) -> None:
    """Send so many records a second, so many seconds in each way."""
    this = job()
    app = App("bench", redis_url=this.url)
    stream = declare(app, "timed", this.partitions)
    redis = Redis.from_url(this.url, protocol=2, single_connection_client=True)

    async def with_runnel(number: int) -> None:
        await stream.send(TimedOrder(**order_values(number), sent=time.monotonic()))

    async def by_hand(number: int) -> None:
        payload = msgpack.packb({**plain_order(number), "sent": time.monotonic()})
        key = f"by-hand:{number % this.partitions}"
        await redis.execute_command("XADD", key, "*", "msgpack", payload)  # type: ignore[no-untyped-call]

    # These open the connections. Latencies of records with `sent` 0 are left out.
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
    run(main(int(sys.argv[1]), int(sys.argv[2])))
