"""The virtual network between processes and the server, with delays and faults.

A request arrives after a delay and is executed at that moment, so the order of arrival is the order
of execution. The delays are drawn from the seed, the process and the number of its request, so that
adding or removing a fault leaves all others as they were.
"""

from __future__ import annotations

import asyncio
import builtins
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.exceptions import ConnectionError, TimeoutError

from tests.simulation.loop import Process, SimLoop, current_process
from tests.simulation.store import Command

#: Seconds that a client waits for a reply; for a blocking read, in addition to its block time.
TIMEOUT = 5.0


class Executor(Protocol):
    """Executes commands on the server at once."""

    def execute(self, process: Process, commands: Sequence[Command]) -> list[Any]: ...

    def kind(self, command: Command) -> str:
        """What a mishap can be aimed at: the script that the command calls, or its name."""
        ...


class Listener(Protocol):
    """A subscription to channels."""

    channels: tuple[str, ...]

    def on_message(self, channel: str) -> None:
        """A message was published."""
        ...

    def on_disconnect(self) -> None:
        """The connection was lost."""
        ...


@dataclass(slots=True)
class Mishap:
    """A fault of the next request that calls `script`, or of the next request if that is empty;
    ``release`` is a commit that releases its partition, ``leave`` a sync that leaves the group.

    `kind` is lose_request, lose_reply, duplicate, late or stop. `on_executed` is called once the
    server has executed the request. Of a lost pipeline the first `part`, from 0 to 1, is executed.
    If `silent`, the caller gets no error and times out.
    """

    kind: str
    script: str = ""
    delay: float = 0.0
    part: float = 0.0
    silent: bool = False
    on_executed: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Wire:
    """The connections of one process."""

    process: Process
    random: random.Random
    mishaps: deque[Mishap] = field(default_factory=deque)
    #: reset: connections break, new ones are refused. deaf: no reply arrives. hole: nothing does.
    state: str = "up"
    #: Rises when connections break: requests and replies on older ones are lost.
    generation: int = 0
    open: list[Exchange] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its reply."""

    wire: Wire
    generation: int
    commands: Sequence[Command]
    future: asyncio.Future[list[Any]]
    #: The id of its connection, for CLIENT UNBLOCK.
    connection: int
    mishap: Mishap | None
    replies: list[Any] = field(default_factory=list)
    #: The timer of a blocking read that waits.
    deadline: asyncio.TimerHandle | None = None


class Network:
    """The connections of all processes, and the server's end of them.

    `delay` is the shortest and the longest delay in one direction, in seconds.
    """

    def __init__(
        self, loop: SimLoop, executor: Executor, seed: int, delay: tuple[float, float]
    ) -> None:
        self.loop = loop
        self._executor = executor
        self._seed = seed
        self._delay = delay
        self._wires: dict[Process, Wire] = {}
        self._blocked: list[Exchange] = []
        self._connections = 0
        self.no_process = Context()
        #: The server executes nothing before this time.
        self.busy_until = 0.0
        self.closed = False
        #: Those that get no reply.
        self.unanswered: set[Process] = set()
        #: Called when a mishap happens.
        self.on_mishap: Callable[[], None] = lambda: None

    def wire(self, process: Process) -> Wire:
        """The connections of a process."""
        if process not in self._wires:
            self._wires[process] = Wire(process, random.Random(f"{self._seed} {process.name}"))
        return self._wires[process]

    def new_connection(self) -> int:
        """Open a connection; returns its CLIENT ID."""
        self._connections += 1
        return self._connections

    # The client's end

    async def request(
        self, commands: Sequence[Command], connection: int = 0, wait: float = 0.0
    ) -> list[Any]:
        """The replies to commands, errors included; `wait` is how long they may block.

        Raises redis-py's ConnectionError and TimeoutError.
        """
        wire = self.wire(current_process())
        if self.closed:
            raise ConnectionError("the simulation is over")
        first = self._one_way(wire)
        if wire.state == "reset":
            await asyncio.sleep(first)
            raise ConnectionError("connection refused")
        mishap = self._mishap(wire, commands)
        future: asyncio.Future[list[Any]] = self.loop.create_future()
        exchange = Exchange(wire, wire.generation, commands, future, connection, mishap)
        wire.open.append(exchange)
        late = mishap.delay if mishap and mishap.kind == "late" else 0.0
        self._later(first + late, self._arrive, exchange)
        # A late second read has no effect, but would count as one of an idle worker.
        if mishap and mishap.kind == "duplicate" and block_of(commands[0]) is None:
            second = Exchange(
                wire, wire.generation, commands, self.loop.create_future(), connection, None
            )
            self._later(first + mishap.delay, self._arrive, second)
        try:
            async with asyncio.timeout(TIMEOUT + wait):
                return await future
        except builtins.TimeoutError:
            raise TimeoutError("no reply") from None
        finally:
            wire.open.remove(exchange)

    def _mishap(self, wire: Wire, commands: Sequence[Command]) -> Mishap | None:
        for mishap in wire.mishaps:
            kinds = map(self._executor.kind, commands)
            if not mishap.script or any(mishap.script in each for each in kinds):
                wire.mishaps.remove(mishap)
                self.on_mishap()
                return mishap
        return None

    def _one_way(self, wire: Wire) -> float:
        least, most = self._delay
        return least + (most - least) * wire.random.random() ** 3

    def _later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        self.loop.call_later(delay, callback, *args, context=self.no_process)

    # The server's end

    def _arrive(self, exchange: Exchange) -> None:
        wire = exchange.wire
        if self.closed or wire.state == "hole" or exchange.generation != wire.generation:
            return
        if self.loop.time() < self.busy_until:
            self._later(self.busy_until - self.loop.time(), self._arrive, exchange)
            return
        mishap = exchange.mishap
        if mishap and mishap.kind == "lose_request":
            self._execute(exchange, int(len(exchange.commands) * mishap.part))
            return
        self._execute(exchange, len(exchange.commands))

    def _execute(self, exchange: Exchange, until: int) -> None:
        """Execute the remaining commands, up to the first that blocks."""
        while (at := len(exchange.replies)) < until:
            wait = block_of(exchange.commands[at])
            if wait is None:
                through = at + 1
                while through < until and block_of(exchange.commands[through]) is None:
                    through += 1
                exchange.replies += self._do(exchange, at, through)
                continue
            (reply,) = self._do(exchange, at, at + 1)
            if reply is None and exchange.mishap is None:
                self._blocked.append(exchange)
                exchange.deadline = self.loop.call_later(
                    wait, self._unblock, exchange, context=self.no_process
                )
                return
            exchange.replies.append(reply)
        self._answer(exchange)

    def _do(self, exchange: Exchange, start: int, end: int) -> list[Any]:
        commands = exchange.commands[start:end]
        replies = self._executor.execute(exchange.wire.process, commands)
        for i, command in enumerate(commands):
            if command[:2] == ("CLIENT", "ID"):
                replies[i] = exchange.connection
            elif command[:2] == ("CLIENT", "UNBLOCK"):
                for blocked in list(self._blocked):
                    if blocked.connection == command[2]:
                        self._unblock(blocked)
        return replies

    def entries_added(self, log: str) -> None:
        """Entries were added to a log: wake the reads that wait for it."""
        for exchange in list(self._blocked):
            at = len(exchange.replies)
            if log not in exchange.commands[at]:
                continue
            (reply,) = self._do(exchange, at, at + 1)
            if reply is not None:
                self._finish_block(exchange, reply)

    def _unblock(self, exchange: Exchange) -> None:
        if exchange in self._blocked:
            self._finish_block(exchange, None)

    def _finish_block(self, exchange: Exchange, reply: Any) -> None:
        self._blocked.remove(exchange)
        if exchange.deadline:
            exchange.deadline.cancel()
        exchange.replies.append(reply)
        if exchange.generation == exchange.wire.generation:
            self._execute(exchange, len(exchange.commands))

    def _answer(self, exchange: Exchange) -> None:
        mishap = exchange.mishap
        if mishap:
            mishap.on_executed()
        if mishap and mishap.kind in ("lose_reply", "lose_request"):
            if not mishap.silent:
                self._fail(exchange, "connection reset")
        else:
            self._later(self._one_way(exchange.wire), self._reply, exchange)

    def _reply(self, exchange: Exchange) -> None:
        wire = exchange.wire
        lost = wire.state in ("deaf", "hole") or exchange.generation != wire.generation
        lost |= wire.process in self.unanswered
        if not exchange.future.done() and not lost:
            exchange.future.set_result(exchange.replies)

    def _fail(self, exchange: Exchange, why: str) -> None:
        if not exchange.future.done():
            exchange.future.set_exception(ConnectionError(why))

    # Faults

    def break_connections(self, wire: Wire) -> None:
        """Reset all connections: requests and replies on their way are lost."""
        wire.generation += 1
        for exchange in list(wire.open):
            self._later(self._one_way(wire), self._fail, exchange, "connection reset")
        self._blocked = [each for each in self._blocked if each.wire is not wire]
        for listener in wire.listeners:
            self._later(self._one_way(wire), listener.on_disconnect)
        wire.listeners.clear()

    def break_all(self) -> None:
        """Reset the connections of all processes: another server took over."""
        for wire in self._wires.values():
            self.break_connections(wire)

    # Notifications

    def publish(self, channel: str) -> None:
        """Notify the subscribers of a channel. A notification may get lost."""
        for wire in self._wires.values():
            for listener in wire.listeners:
                if channel in listener.channels and wire.state == "up":
                    self._later(self._one_way(wire), self._deliver, wire, listener, channel)

    def _deliver(self, wire: Wire, listener: Listener, channel: str) -> None:
        if listener in wire.listeners and wire.state == "up":
            listener.on_message(channel)


def block_of(command: Command) -> float | None:
    """Seconds for which a command may block, or None if it does not block."""
    if command[0] == "XREAD" and "BLOCK" in command:
        return int(command[list(command).index("BLOCK") + 1]) / 1000
    return None
