"""The job of a process under measurement, and what such processes have in common."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any

VARIABLE = "RUNNEL_BENCHMARK"


@dataclass(frozen=True)
class Job:
    """What a process is to do, which one environment variable passes on.

    `form` is the shape of the handler, `record` what the events carry (see `records`). `name` is
    the name of the processor: each run has a new one, so that it begins at the first event.
    `events` is the number of events after which the process reports; 0 for never. The clock starts
    after `warmup` of them. Where partitions move, `hold` is the seconds that each event takes.
    `collector` says how to set the garbage collector; empty for Python's default. Raw loops know
    nothing of each other: each of `loops` reads every `loops`-th partition, from number `loop` on.
    """

    url: str
    form: str = "one"
    record: str = "order"
    name: str = "p"
    partitions: int = 16
    events: int = 0
    warmup: int = 0
    hold: float = 0.0
    collector: Sequence[int] = ()
    loop: int = 0
    loops: int = 1

    def environment(self) -> dict[str, str]:
        """The environment of a process that does this job."""
        return {VARIABLE: json.dumps(asdict(self))}


def job() -> Job:
    """This process's own job."""
    return Job(**json.loads(os.environ[VARIABLE]))


def say(**what: Any) -> None:
    """Write one line of JSON to the harness, in one piece: others may write to the same pipe.

    Times in it are of the system's monotonic clock.
    """
    os.write(sys.stdout.fileno(), f"{json.dumps(what)}\n".encode())


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine, on uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def collector() -> list[int]:
    """How this process has set its garbage collector: whether objects are frozen, thresholds."""
    return [int(gc.get_freeze_count() > 0), *gc.get_threshold()]


def set_collector(found: Sequence[int]) -> None:
    """Set it as another process has, so that a reference has the settings of a worker."""
    if found:
        frozen, *thresholds = found
        if frozen:
            gc.freeze()
        gc.set_threshold(*thresholds)
