"""Operators run admin commands while workers run: the shipped code, over the virtual network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable

from redis.exceptions import RedisError

from runnel.errors import ProtocolError
from runnel.operations import admin, removing
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from tests.simulation.application import Application
from tests.simulation.client import SimClient
from tests.simulation.handled import Spot
from tests.simulation.host import Host
from tests.simulation.loop import Process
from tests.simulation.scenario import Fault

#: An admin command for one processor.
Command = Callable[[Scripts, Processor], Awaitable[object]]

#: How often an operator tries a command, and the seconds between two attempts.
_TRIES, _PAUSE = 10, 0.5


class Operators:
    """Runs the faults that operators cause, each in a process of its own."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.world = application.world

    def faults(self) -> dict[str, Callable[[Fault], None]]:
        """Kind of fault -> the method that injects it."""
        return {
            "pause_processor": self.pause,
            "seek": self.seek,
            "remove_processor": self.remove,
        }

    def pause(self, fault: Fault) -> None:
        """Pause a processor, and resume it after a while."""

        async def pause(scripts: Scripts, processor: Processor) -> None:
            await admin.pause(scripts, processor)

        async def resume(scripts: Scripts, processor: Processor) -> None:
            numbers = list(range(processor.stream.partition_count))
            await admin.resume(scripts, processor, numbers)

        self._operate(fault, pause)
        self.world.later(fault.amount, self._operate, fault, resume)

    def seek(self, fault: Fault) -> None:
        """Set the checkpoint of a processor: to the start, the end, or an event."""
        rng = random.Random(f"{self.world.scenario.seed} {fault}")

        async def reset(scripts: Scripts, processor: Processor) -> None:
            # Ids come from the real clock, so those of other partitions depend on real time. An
            # event's id is used for its own partition only.
            partition = rng.randrange(processor.stream.partition_count)
            known = list(self.world.judge.model.at(processor.stream.prefix(partition)).known)
            if known and rng.random() < 0.5:
                await admin.reset(scripts, processor, rng.choice(known), [partition])
            else:
                await admin.reset(scripts, processor, rng.choice(("0", "$")))

        self._operate(fault, reset)

    def remove(self, fault: Fault) -> None:
        """Remove a processor, then restart all workers."""

        async def remove(scripts: Scripts, processor: Processor) -> None:
            await removing.remove(scripts, processor)
            self._restart(self.world.hosts)

        self._operate(fault, remove)

    def clear_up(self) -> None:
        """A late call may have removed a processor after the workers were restarted: restart those
        that are older than the removal once more."""
        removed = self.world.history.removed
        late = [
            removed.get(spot, 0.0) for spot in self.application.spots() if self._is_missing(spot)
        ]
        if late and not self.world.operators:
            self._restart(host for host in self.world.hosts if host.since < max(late))

    def _is_missing(self, spot: Spot) -> bool:
        return spot[1] not in self.world.judge.model.at(spot[0]).states

    def _restart(self, hosts: Iterable[Host]) -> None:
        for host in hosts:
            self.world.leave(host)
            self.world.restart(host)

    def _operate(self, fault: Fault, command: Command) -> None:
        """Run a command, and repeat it if it fails."""
        processors = list(self.application.app.processors.values())
        processor = processors[fault.target % len(processors)]
        process = Process(f"operator at {fault.at:.3f} {self.world.loop.time():.3f}")

        async def run() -> None:
            scripts = Scripts(SimClient(self.world.network))
            for _ in range(_TRIES):
                try:
                    await command(scripts, processor)
                    break
                except (RedisError, OSError, ProtocolError) as error:
                    self.world.trace.say(process, f"is refused: {type(error).__name__}")
                await asyncio.sleep(_PAUSE)
            self.world.operators -= 1
            self.world.disturb()

        if not (self.world.network.closed or self.application.handlers_fixed):
            self.world.operators += 1
            self.world.spawn(process, run)
