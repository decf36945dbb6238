"""The virtual machine of a scenario: the loop, the network, the server, and hosts with workers.

The programs that run are the shipped ones: `runnel.worker.worker.Worker` and
`runnel.producer.producer.Producer`. Only their clock, Redis client and random numbers are replaced,
and they get no thread.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from redis.exceptions import ConnectionError, RedisError

from runnel import App
from runnel.errors import Halted, Removed, Replaced, ServerError
from runnel.protocol.scripts import Call, error_from, sources
from runnel.worker.worker import Worker
from tests.simulation.former import FormerPrimary
from tests.simulation.history import History
from tests.simulation.host import Host
from tests.simulation.judge import Judge
from tests.simulation.loop import Process, SimLoop, current_process
from tests.simulation.network import Network
from tests.simulation.scenario import Scenario
from tests.simulation.store import Command, Store
from tests.simulation.trace import Trace, Violation

#: Seconds after which a worker that failed is started again.
RESTART = 1.0


class World:
    """Everything that one run uses. `app` is the app of its workers."""

    app: App

    def __init__(self, scenario: Scenario, store: Store, trace: Trace) -> None:
        self.scenario = scenario
        self.store = store
        self.trace = trace
        self.loop = SimLoop()  # type: ignore[abstract]
        trace.clock = self.loop.time
        self.history = History(trace, self.loop.time)
        self.judge = Judge(self.loop, store, trace, self.history)
        self.network = Network(self.loop, self, scenario.seed, scenario.delay)
        self.network.on_mishap = self.disturb
        self.former = FormerPrimary(self.judge, self.network, self.disturb)
        self.nonces = random.Random(f"nonces {scenario.seed}")
        self.hosts: list[Host] = []
        self.processes: list[Process] = []
        #: How many operators are running a command.
        self.operators = 0
        #: When the last event happened to which members must react.
        self.disturbed = 0.0
        #: Processor -> the generation of its group, while nothing disturbs it.
        self.calm: dict[str, int] = {}

    def host(self) -> Host:
        """The host on which the current code runs."""
        process = current_process()
        return next(each for each in self.hosts if each.process is process)

    def start(self, host: Host) -> None:
        """Start the worker of a host, if none runs."""
        if host.state != "down" or self.network.closed:
            return
        host.starts += 1
        host.since = self.loop.time()
        host.state, host.blocked = "running", False
        host.process = Process(f"{host.name}.{host.starts}")
        self.disturb()
        self.trace.say(host.process, "starts")
        self.spawn(host.process, lambda: self._run_worker(host))

    def spawn(self, process: Process, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a program in a process. It must not raise."""

        async def guarded() -> None:
            try:
                await main()
            except Exception as error:
                self.loop.failure = self.loop.failure or error
                raise

        self.processes.append(process)
        self.loop.spawn(process, guarded)

    async def _run_worker(self, host: Host) -> None:
        process = host.process
        host.members = {}
        host.worker = Worker(self.app, name=host.name)
        ended: object = "in good order"
        try:
            await host.worker.run()
        except (Halted, Removed, Replaced, ServerError, RedisError) as error:
            ended = f"by {type(error).__name__}"
        except Exception as error:
            self.loop.failure = Violation("worker", f"{process} ended: {error!r}")
            self.loop.failure.__cause__ = error
            raise
        if host.process is process:
            host.state = "down"
            self.disturb()
            self.trace.say(process, f"ended {ended}")
            if ended != "in good order":
                self.later(RESTART, self.start, host)

    def kill(self, host: Host) -> None:
        """End the worker of a host at once."""
        if host.state == "down":
            return
        self.trace.say(host.process, "is killed")
        blamed = [
            spot
            for spot, queue in host.queues()
            if self.history.worker_killed(spot, queue.state.token, self.judge.model.at(spot[0]))
        ]
        if len(blamed) > 1:
            self.loop.failure = Violation(
                "S4", f"{host.process} died with more than one event to blame: {blamed}"
            )
        self.loop.kill(host.process)
        host.state, host.blocked = "down", False
        self.disturb()

    def crash(self, host: Host) -> None:
        """Kill a worker, and check that it had committed what it finished earlier."""
        settled = self.loop.time() - 10 * self.scenario.delay[1] - 0.1
        calm = self.disturbed < settled - 2 and not self.former.active
        if host.state == "running" and not host.process.paused and calm:
            for spot, queue in host.queues():
                partition = self.judge.model.at(spot[0])
                self.history.worker_crashed(spot, queue.state.token, partition, settled)
        self.kill(host)

    def leave(self, host: Host) -> None:
        """Stop the worker cleanly."""
        if host.state == "running" and host.worker is not None:
            self.trace.say(host.process, "is told to stop")
            host.state = "leaving"
            host.worker.stop.set()
            self.disturb()

    def restart(self, host: Host) -> None:
        """Start its worker again as soon as it is down."""
        if host.state == "down":
            self.start(host)
        elif host.state == "leaving":
            self.later(0.1, self.restart, host)

    def disturb(self) -> None:
        """Record that something happened to which members must react."""
        self.disturbed = self.loop.time()
        self.calm = {}

    def later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        """Schedule a callback of the simulation itself, which belongs to no process."""
        self.loop.call_later(delay, callback, *args, context=self.network.no_process)

    # The server's end

    def kind(self, command: Command) -> str:
        """The script that a command calls, or its name. Marks a commit that releases its partition,
        and a sync that leaves."""
        script = self.store.script(command) or str(command[0])
        arguments = (
            command[3 + int(command[2]) :] if script in ("commit", "transact", "sync") else ()
        )
        if script in ("commit", "transact") and str(arguments[6]) == "1":
            return f"{script}, release"
        if script == "sync" and str(arguments[7]) == "leave":
            return "sync, leave"
        return script

    def execute(self, process: Process, commands: Sequence[Command]) -> list[Any]:
        """Execute commands on the server, then notify subscribers and blocked reads."""
        former = self.former.execute(process, commands)
        if former is not None:
            return former
        replies = self.judge.execute(process, commands)
        published, self.judge.published = self.judge.published, []
        for channel in published:
            self.network.publish(channel)
        grown, self.judge.grown = self.judge.grown, []
        for log in grown:
            self.network.entries_added(log)
        return replies

    def beat(self, process: Process, call: Call) -> Any:
        """A call from a thread of the process, over a connection of its own, at once."""
        if self.network.wire(process).state != "up" or self.loop.time() < self.network.busy_until:
            raise ConnectionError("no reply")
        load = ("SCRIPT", "LOAD", sources()[call.script])
        _, reply = self.execute(process, [load, call.command()])
        if isinstance(reply, Exception):
            raise error_from(reply)
        return reply

    def operate(self, process: Process, call: Call) -> None:
        """Execute a call of an operator at once."""
        self.store.run([("SCRIPT", "LOAD", sources()[call.script])])
        self.execute(process, [call.command()])
        self.disturb()
