"""Tests of an app: without a server by `App.test`, with one by the fixtures of
`runnel.pytest_plugin`.

Without a server there is a `Harness`::

    async with app.test() as t:
        await t.send(orders, Order(order_id=1))
        await t.drain()

It runs what a worker runs: `HeldPartitions` with its runners, queues, committers and readers. Only
the backend is another one::

    MemoryEngine          has the store, the time, and one `Life` for each processor
      Store               carries out the calls of a partition's owner and of producers, in memory
      Failures            has what has failed, with what the handlers have raised
      VirtualTime         the time between retries, which passes at once
      Life                a worker's member of one processor, until it ends or is killed
        MemoryBackend     what `Life` has in place of Redis

With one there is `Served`, on the server that is named or on a `ThrowawayServer`.
"""

from runnel.harness import Failure, HandlerFailed, Harness, NotDrained

__all__ = ["Failure", "HandlerFailed", "Harness", "NotDrained"]
