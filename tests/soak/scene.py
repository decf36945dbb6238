"""What a fault of a soak is. It injects one failure, waits, and repairs it; it checks no worker.

A fault is declared with its target and the modes in which it applies. A fault on a worker or a
producer gets one that no other fault uses; faults on servers, and those of operators, run one at
a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.soak.app import SESSION
from tests.soak.cast import Cast
from tests.soak.stage import Stage
from tests.soak.watch import Watch

Target = Literal["worker", "actor", "servers", "operator"]
EVERYWHERE = ("server", "sentinel", "cluster")
MAX_WORKERS = 5
HEARTBEAT = SESSION / 3


@dataclass
class Scene:
    """What a fault works with."""

    stage: Stage
    cast: Cast
    watch: Watch
    rng: Random
    #: Held by a fault that changes servers, and while a worker starts, which needs them.
    servers: asyncio.Lock
    #: Called after a worker ended: how it ended, and the seconds until all its partitions had an
    #: owner again, or None if that took too long.
    converged: Callable[[str, float | None], None]
    #: True while no other fault runs.
    quiet: Callable[[], bool]

    async def wait(self, least: float, most: float) -> None:
        """Sleep a random time between `least` and `most` seconds."""
        await asyncio.sleep(self.rng.uniform(least, most))


@dataclass(frozen=True)
class Fault:
    """A fault by its name."""

    name: str
    act: Callable[..., Awaitable[None]]
    target: Target
    modes: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(
    target: Target, *modes: str
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Declare the decorated function as a fault, for these modes or all."""

    def register(act: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        name = act.__name__.replace("_", " ")
        FAULTS.append(Fault(name, act, target, modes or EVERYWHERE))
        return act

    return register
