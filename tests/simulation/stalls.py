"""Faults in which a worker is stopped, or only its heartbeat thread still runs."""

from __future__ import annotations

from collections.abc import Callable

from runnel.worker.heartbeat_thread import HeartbeatThread
from tests.simulation.host import Host
from tests.simulation.loop import Process
from tests.simulation.network import Mishap
from tests.simulation.scenario import KILL, STOP, Fault
from tests.simulation.world import RESTART, World


class Stalls:
    """Blocks event loops and stops workers."""

    def __init__(self, world: World, host_of: Callable[[Fault], Host]) -> None:
        self.world = world
        self._host_of = host_of

    def faults(self) -> dict[str, Callable[[Fault], None]]:
        """Kind of fault -> the method that injects it."""
        return {
            "block": self.block,
            "block_cut_off": self.block_cut_off,
            STOP: self.stop_at_sync,
            KILL: self.kill_at_append,
        }

    def block(self, fault: Fault) -> None:
        """A handler blocks the event loop: only the heartbeat thread of the worker still runs."""
        host = self._host_of(fault)
        process = host.process
        if host.state == "down" or process.paused:
            return
        host.blocked = True
        self.world.loop.pause(process)
        self._beat(host, process)
        self.world.later(fault.amount, self._resume, host, process)

    def block_cut_off(self, fault: Fault) -> None:
        """As `block`; and for a part of that time, nothing from the worker reaches the server."""
        wire = self.world.network.wire(self._host_of(fault).process)
        self.block(fault)
        if wire.state == "up":
            wire.state = "hole"

            def restore() -> None:
                if wire.state == "hole":
                    wire.state = "up"
                    self.world.disturb()

            self.world.later(fault.amount * 0.8, restore)

    def stop_at_sync(self, fault: Fault) -> None:
        """Stop a worker once its next heartbeat has been executed: it gets the reply when it runs
        again, and its session may have ended before that."""
        process = self._host_of(fault).process

        def stop() -> None:
            if not process.dead and not process.paused:
                self.world.trace.say(process, "stands still")
                self.world.loop.pause(process)
                self.world.later(fault.amount, resume)

        def resume() -> None:
            if process.paused:
                self.world.trace.say(process, "goes on")
                self.world.loop.resume(process)
                self.world.disturb()

        mishap = Mishap("stop", "sync", on_executed=stop)
        self.world.network.wire(process).mishaps.append(mishap)

    def kill_at_append(self, fault: Fault) -> None:
        """Kill a worker once the next entries that it forwards were added."""
        host = self._host_of(fault)
        process = host.process

        def kill() -> None:
            if not process.dead and not process.paused and host.process is process:
                self.world.crash(host)
                self.world.later(RESTART + fault.amount, self.world.start, host)

        mishap = Mishap("kill", "append_numbered", on_executed=lambda: self.world.later(0.0, kill))
        self.world.network.wire(process).mishaps.append(mishap)

    def _resume(self, host: Host, process: Process) -> None:
        if host.process is process:
            host.blocked = False
        if process.paused:
            self.world.trace.say(process, "is no longer blocked")
            self.world.loop.resume(process)
            self.world.disturb()

    def _beat(self, host: Host, process: Process) -> None:
        """Run the check of the heartbeat thread periodically."""
        if process.dead or not process.paused or self.world.network.closed:
            return
        for member in host.members.values():
            HeartbeatThread(member, self.world.scenario.max_block).check()
        self.world.later(self.world.scenario.session_timeout / 6, self._beat, host, process)
