"""A process that sends with ever more of what an awaited `send` does: where its time goes.

It reads from its arguments how much to send in each way, and how often; then it prints a line of
JSON for each round, with microseconds of wall time for each record.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack

from benchmarks.gate import say
from benchmarks.sender import Sender, run
from runnel import protocol
from runnel.connection.connect import connect
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

#: Name -> what is done for each record, beside what the one before does.
TITLES = {
    "by-hand": "XADD through redis-py",
    "client": "XADD through Runnel's client",
    "script": "a script in its place that only adds",
    "append": "append in its place, ready to go",
    "encoded": "and the record checked and encoded",
    "send": "send",
}


#: Called as `append` is, and answers as it does.
ADD = """
return {1, redis.call('XADD', KEYS[1], '*', unpack(ARGV, 9)), 1}
"""


class Steps(Sender):
    """The same records in each way."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.spec: StreamSpec[Any] = self.stream.spec
        self._runs = 0

    def ways(self, scripts: Scripts) -> dict[str, Callable[[], Awaitable[None]]]:
        """All of `TITLES`; what is made beforehand is made now."""
        roundtrip, encode, pack = scripts.client.roundtrip, self.spec.codec.encode, msgpack.packb
        adds, appends, others = (self._appends() for _ in range(3))
        sha = hashlib.sha1(ADD.encode(), usedforsecurity=False).hexdigest()
        adds = [(name, sha, *rest) for name, _, *rest in adds]

        async def client() -> None:
            for key, values in self.plain:
                await roundtrip([("XADD", key, "*", "msgpack", pack(values))])

        async def script() -> None:
            for command in adds:
                await roundtrip([command])

        async def append() -> None:
            for command in appends:
                await roundtrip([command])

        async def encoded() -> None:
            for command, record in zip(others, self.records, strict=True):
                encode(record)
                await roundtrip([command])

        return {
            "by-hand": self.by_hand_one,
            "client": client,
            "script": script,
            "append": append,
            "encoded": encoded,
            "send": self.runnel_one,
        }

    def _appends(self) -> list[tuple[Any, ...]]:
        """The calls that send all records, by a sender of their own."""
        self._runs += 1
        spec, numbers = self.spec, [0] * self.spec.partition_count
        commands = []
        for record in self.records:
            partition = spec.partition(record)
            numbers[partition] += 1
            call = protocol.append(
                spec.prefix(partition),
                spec.contract,
                spec.partition_size,
                "refuse",
                f"steps-{self._runs}",
                numbers[partition],
                [spec.codec.encode(record)],
            )
            commands.append(call.command())
        return commands


async def main(count: int, rounds: int) -> None:
    """All ways in turn, so often."""
    steps = Steps(count)
    await steps.ready()
    scripts = Scripts(connect(steps.job.url))
    await scripts.client.roundtrip([("SCRIPT", "LOAD", ADD)])
    for number in range(rounds):
        ways = steps.ways(scripts)
        taken = {}
        for name in reversed([*ways]) if number % 2 else ways:
            began = time.perf_counter()
            await ways[name]()
            taken[name] = (time.perf_counter() - began) / count * 1e6
        say(steps=taken)
        await steps.empty()
    await scripts.client.aclose()
    await steps.close()


if __name__ == "__main__":
    run(main(int(sys.argv[1]), int(sys.argv[2])))
