"""The table of Lua scripts that are timed, each with its budget, and the clock that times them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from runnel.protocol.scripts import Call, sources

ENTRY = [b"msgpack", b"\x83\xa8order_id\xcd\x30\x39\xaacreated_at\xb42026-01-01T00:00:00Z"]
#: Microseconds from which the server reports the CPU time of a call exactly enough.
_LONG = 500


class Timer:
    """Calls scripts and takes the server's own figure for the time of each, in microseconds.

    That is time on the clock. For calls so long that the server reports their CPU time exactly, the
    time for which the machine did something else is left out.
    """

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.redis.set_response_callback("INFO", lambda reply, **_: reply)
        for source in sources().values():
            redis.script_load(source.decode())
        spent = [self._spent("evalsha")[1] for _ in range(20)]
        #: The CPU that asking for these figures takes.
        self._asking = statistics.median(b - a for a, b in pairwise(spent))

    def call(self, call: Call) -> Any:
        """The reply to a call that is not timed."""
        return self.redis.execute_command(*call.command())

    def timed(self, call: Call) -> float:
        """The server's time for a call."""
        return self.timed_reply(call)[1]

    def timed_reply(self, call: Call) -> tuple[Any, float]:
        """The reply to a call, and the server's time for it."""
        spent, cpu = self._spent("evalsha")
        reply = self.call(call)
        spent_then, cpu_then = self._spent("evalsha")
        took = spent_then - spent
        return reply, took if took < _LONG else min(took, cpu_then - cpu - self._asking)

    def xadd(self, count: int) -> float:
        """The server's time for one bare XADD, from so many of them in pipelines."""
        before = self._spent("xadd")[0]
        for _ in range(count // 1000):
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(1000):
                pipeline.execute_command("XADD", "bare", "*", *ENTRY)
            pipeline.execute()
        self.redis.delete("bare")
        return (self._spent("xadd")[0] - before) / count

    def _spent(self, command: str) -> tuple[float, float]:
        """Microseconds that the command has taken until now, and the CPU of the server."""
        lines = self.redis.info("commandstats", "cpu").decode().splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        stats = found.get(f"cmdstat_{command}", "usec=0").split(",")
        fields = dict(pair.split("=") for pair in stats)
        cpu = sum(float(found[f"used_cpu_{mode}_main_thread"]) for mode in ("user", "sys"))
        return float(fields["usec"]), cpu * 1e6


#: Makes the input of a script, and yields the server's time for each of so many calls.
Times = Callable[[Timer, int], Iterator[float]]


@dataclass(frozen=True)
class Case:
    """A script at some input.

    Its `budget` is in bare XADDs of a small event: about twice the time that it took when the
    budget was set, so that a script that has become slower is seen on any machine.
    """

    title: str
    budget: float
    times: Times
    #: Calls that take long: one where others make so many.
    one_in: int = 1

    def run(self, timer: Timer, repeats: int) -> list[float]:
        """The server's time for each call."""
        return list(self.times(timer, max(2, repeats // self.one_in)))


#: Name -> case, in the order of the printed table. A name begins with that of its script.
CASES: dict[str, Case] = {}


def case(name: str, title: str, budget: float, one_in: int = 1) -> Callable[[Times], Times]:
    """Put a function into the table."""

    def add(times: Times) -> Times:
        CASES[name] = Case(title, budget, times, one_in)
        return times

    return add
