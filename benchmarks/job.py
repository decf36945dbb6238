"""What a process under measurement is to do: handed over in one environment variable."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

VARIABLE = "RUNNEL_BENCHMARK"


@dataclass(frozen=True)
class Job:
    """`form` is the shape of the handler, `record` what the events carry (see `records`).

    `name` is the processor's, new for every run: so each begins at the first event. `events` is how
    many the process is to handle before it says so; 0 for never. The clock starts after `warmup` of
    them. Where partitions change hands, `hold` is the seconds that each event takes. `collector` is
    how the garbage collector is to be set; empty for Python's own way. Of several raw loops, which
    know nothing of each other, each has every `loops`-th partition, from `loop` on.
    """

    url: str
    form: str = "one"
    record: str = "order"
    name: str = "p"
    partitions: int = 16
    events: int = 0
    warmup: int = 0
    profile: bool = False
    hold: float = 0.0
    collector: Sequence[int] = ()
    loop: int = 0
    loops: int = 1

    def environment(self) -> dict[str, str]:
        """The environment of a process that is to do it."""
        return {VARIABLE: json.dumps(asdict(self))}


def job() -> Job:
    """This process's own job."""
    return Job(**json.loads(os.environ[VARIABLE]))


def collector() -> list[int]:
    """How this process has set its garbage collector: if what came before is frozen, thresholds."""
    return [int(gc.get_freeze_count() > 0), *gc.get_threshold()]


def set_collector(found: Sequence[int]) -> None:
    """Set it as another process has, so that a reference has what a worker gives itself."""
    if found:
        frozen, *thresholds = found
        if frozen:
            gc.freeze()
        gc.set_threshold(*thresholds)
