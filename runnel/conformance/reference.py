"""The worker and the producer of the kit in Python: the ones that it mixes with yours, and an
example of what it expects.

``python -m runnel.conformance.reference worker`` and ``… producer`` run them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter

from redis.exceptions import OutOfMemoryError, RedisError

from runnel.app import App
from runnel.conformance.contract import APP, KEY, MEMBER, PARTITIONS, PROCESSOR, SIZE, STREAM, Item
from runnel.errors import RunnelError
from runnel.events import Events
from runnel.stream import Sent
from runnel.worker.worker import Worker

app = App(APP, rebalance_delay=0.1)
items = app.stream(
    STREAM, record=Item, partition_by=KEY, partition_count=PARTITIONS, partition_size=SIZE
)
#: Event -> how often this process got it.
failures: Counter[str] = Counter()


@app.processor(items, name=PROCESSOR)
async def work(events: Events[Item]) -> None:
    """Do what the record says, then write the line."""
    async for event in events:
        record, id_ = event.record, str(event.id)
        await asyncio.sleep(record.work / 1000)
        time.sleep(record.block / 1000)  # noqa: ASYNC251 -- that is what it is to do
        done = {"partition": event.partition, "id": id_}
        failures[id_] += 1
        if record.die or failures[id_] <= record.fail:
            print(json.dumps({**done, "failed": True}), flush=True)
            if record.die:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"failure {failures[id_]} of {record.fail}, as the record says")
        print(json.dumps({**done, "record": record.model_dump(exclude_unset=True)}), flush=True)


async def produce() -> None:
    """Send each line as it comes; lines that come meanwhile go together."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, b"")

    reading = asyncio.create_task(asyncio.to_thread(read))
    async with app:
        while line := await lines.get():
            batch = [line]
            while not lines.empty() and len(batch) < 100:
                batch.append(lines.get_nowait())
            over = b"" in batch
            await _send([Item.model_validate_json(each) for each in batch if each])
            if over:
                break
    await reading


async def _send(batch: list[Item]) -> None:
    while batch:
        error: Exception | None = None
        try:
            outcomes: list[Sent | None] = [*await items.send(*batch, wait=True)]
        except OutOfMemoryError as refused:  # Nothing has happened: wait until there is memory.
            outcomes = refused.sent  # type: ignore[attr-defined]
            await asyncio.sleep(0.1)
        except (RedisError, RunnelError, OSError) as failed:
            outcomes, error = getattr(failed, "sent", [None] * len(batch)), failed
        left = []
        for item, outcome in zip(batch, outcomes, strict=True):
            names = {"key": item.key, "number": item.number}
            if outcome is not None:
                print(json.dumps({**names, "id": str(outcome.id)}), flush=True)
            elif error is not None:
                print(json.dumps({**names, "error": repr(error)}), flush=True)
            else:
                left.append(item)
        batch = left


if __name__ == "__main__":
    if sys.argv[1:] == ["producer"]:
        asyncio.run(produce())
    else:
        asyncio.run(Worker(app, name=os.environ[MEMBER], signals=True).run())
