"""Injects the faults of a scenario into a running world."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runnel import keys, protocol
from tests.simulation.application import Application
from tests.simulation.assignments import Assignments
from tests.simulation.handled import Spot
from tests.simulation.host import Host
from tests.simulation.loop import Process
from tests.simulation.losses import Losses
from tests.simulation.network import Mishap
from tests.simulation.operators import Operators
from tests.simulation.producers import Producers
from tests.simulation.removals import lowest_checkpoint
from tests.simulation.scenario import MISHAPS, WIRE, Fault
from tests.simulation.stalls import Stalls
from tests.simulation.store import tag
from tests.simulation.stored import Partition, parts
from tests.simulation.world import RESTART

#: The largest number of workers.
MAX_HOSTS = 8
HOUR_MS = 3_600_000


@dataclass
class Snapshot:
    """The data of a replica when the connection to its primary broke."""

    keys: dict[bytes, bytes]
    partitions: dict[str, Partition]
    groups: dict[str, Assignments]
    #: Events that handlers had finished; a later seek or removal may have cleared them since.
    finished: dict[Spot, set[str]]


class Faults:
    """Injects faults into a world."""

    def __init__(self, application: Application, producers: Producers) -> None:
        self.application = application
        self.producers = producers
        self.world = application.world
        self.operator = Process("operator")
        self._snapshots: dict[Fault, Snapshot] = {}
        self._operators = Operators(application)
        self._extra: dict[str, Callable[[Fault], None]] = {
            **self._operators.faults(),
            **Stalls(application.world, self._host).faults(),
            **Losses(application, producers, self._host).faults(),
        }

    def schedule(self, faults: Sequence[Fault]) -> None:
        """Schedule each fault for its time."""
        for fault in faults:
            self.world.later(fault.at, self.apply, fault)
            if fault.kind == "rollback":
                self.world.later(max(0.0, fault.at - fault.amount), self._snapshot, fault)

    def apply(self, fault: Fault) -> None:
        """Inject a fault now."""
        world = self.world
        world.trace.say("!", str(fault))
        world.disturb()
        if fault.kind in MISHAPS:
            self._mishap(fault)
        elif fault.kind in WIRE:
            self._wire(fault)
        elif fault.kind in self._extra:
            self._extra[fault.kind](fault)
        else:
            getattr(self, f"_{fault.kind}")(fault, random.Random(f"{world.scenario.seed} {fault}"))

    def end(self) -> None:
        """End all faults, and make sure that a worker runs."""
        world = self.world
        world.former.end()
        for process in world.processes:
            world.loop.resume(process)
            wire = world.network.wire(process)
            wire.state = "up"
            wire.mishaps.clear()
        world.network.busy_until = 0.0
        self._make_room()
        world.disturb()
        self._ensure_one_runs()

    def correct_clock(self) -> None:
        """Set the server's clock right if it went back: what was delayed by the clock before would
        wait for up to an hour more."""
        judge, most = self.world.judge, round(1000 * self.world.scenario.longest_delay)
        waiting = (each.delayed.values() for each in judge.model.partitions.values())
        last = max((due for delayed in waiting for due, _ in delayed), default=0)
        if last > judge.now_ms + most:
            judge.skew_ms += last - judge.now_ms - most
            self.world.disturb()

    def _ensure_one_runs(self) -> None:
        """Start a worker if none runs; one that is leaving does not count."""
        world = self.world
        if any(host.state == "running" for host in world.hosts):
            return
        down = [host for host in world.hosts if host.state == "down"]
        if down:
            world.start(down[0])
        else:
            world.later(0.1, self._ensure_one_runs)

    def clear_up(self) -> None:
        """Do what an operator does once handlers are fixed: resume, delete dead letters, restart
        workers whose processor was removed."""
        self._operators.clear_up()
        for processor in self.application.app.processors.values():
            count = processor.stream.partition_count
            for p in range(count if processor.sink else 0):
                prefix = processor.sink.prefix(p)  # type: ignore[union-attr]
                sink = self.world.judge.model.at(prefix)
                if sink.log:
                    self._run("XTRIM", keys.log(prefix), "MAXLEN", "=", 0)
                    sink.remove_entries(list(sink.log.entries))
            for p in range(count):
                partition = processor.keys(p)
                state = self.world.judge.model.at(partition.prefix).states.get(processor.name, {})
                if "1" in (state.get("quarantined"), state.get("paused")):
                    self.world.operate(self.operator, protocol.resume(partition))
                    self.world.operate(self.operator, protocol.revoke(processor.group, [p]))

    def _host(self, fault: Fault) -> Host:
        return self.world.hosts[fault.target % len(self.world.hosts)]

    def _process(self, fault: Fault) -> Process:
        """The target process: a worker more often than a producer, unless only producers do it."""
        world = self.world
        if fault.aim in ("append_later", "cancel") and self.producers.processes:
            return self.producers.processes[fault.target % len(self.producers.processes)]
        choice = [*(host.process for host in world.hosts * 3), *self.producers.processes]
        return choice[fault.target % len(choice)]

    def _partition_count(self, group: str) -> int:
        processors = self.application.app.processors.values()
        return next(each.stream.partition_count for each in processors if each.group == group)

    def _run(self, *command: Any) -> Any:
        (reply,) = self.world.store.run([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    # Workers

    def _kill(self, fault: Fault, rng: random.Random) -> None:
        host = self._host(fault)
        self.world.crash(host)
        if fault.amount < 0.8:
            delay = RESTART + fault.amount * 2 * self.world.scenario.session_timeout
            self.world.later(delay, self.world.start, host)

    def _leave(self, fault: Fault, rng: random.Random) -> None:
        host = self._host(fault)
        self.world.leave(host)
        if fault.amount < 0.8:
            delay = fault.amount * self.world.scenario.session_timeout
            self.world.later(delay, self.world.start, host)

    def _join(self, fault: Fault, rng: random.Random) -> None:
        world = self.world
        if len(world.hosts) < MAX_HOSTS:
            world.hosts.append(Host(f"w{len(world.hosts)}"))
            world.start(world.hosts[-1])
        else:
            world.start(self._host(fault))

    def _pause(self, fault: Fault, rng: random.Random) -> None:
        process = self._process(fault)
        self.world.loop.pause(process)
        self.world.later(fault.amount, self._resume, process)

    def _resume(self, process: Process) -> None:
        if process.paused:
            self.world.trace.say(process, "goes on")
            self.world.loop.resume(process)
            self.world.disturb()

    def _halt_all(self, fault: Fault, rng: random.Random) -> None:
        for host in self.world.hosts:
            self.world.kill(host)
            self.world.later(RESTART + rng.random(), self.world.start, host)

    # The wire

    def _mishap(self, fault: Fault) -> None:
        rng = random.Random(f"{self.world.scenario.seed} {fault}")
        mishap = Mishap(
            fault.kind,
            fault.aim,
            delay=fault.amount if fault.kind == "late" else rng.choice((0.001, 0.1, 3.0)),
            part=rng.choice((0.0, 0.0, rng.random())),
            silent=rng.random() < 0.3,
        )
        self.world.network.wire(self._process(fault)).mishaps.append(mishap)

    def _wire(self, fault: Fault) -> None:
        world = self.world
        wire = world.network.wire(self._process(fault))
        if wire.state != "up":
            return
        wire.state = {"cut": "reset", "deaf": "deaf", "hole": "hole"}[fault.kind]
        if fault.kind == "cut":
            world.network.break_connections(wire)

        def restore() -> None:
            if wire.state != "up":
                wire.state = "up"
                world.disturb()

        world.later(fault.amount, restore)

    # The server

    def _flush(self, fault: Fault, rng: random.Random) -> None:
        self.world.store.flush_scripts()

    def _skew(self, fault: Fault, rng: random.Random) -> None:
        self.world.judge.skew_ms += round(fault.amount * 1000)

    def _busy(self, fault: Fault, rng: random.Random) -> None:
        world = self.world
        world.network.busy_until = world.loop.time() + fault.amount
        world.later(fault.amount, world.disturb)

    def _full(self, fault: Fault, rng: random.Random) -> None:
        world = self.world
        self._run("CONFIG", "SET", "maxmemory", 1)
        world.judge.full = True

        world.later(fault.amount, self._make_room)

    def _make_room(self) -> None:
        if self.world.judge.full:
            self._run("CONFIG", "SET", "maxmemory", 0)
            self.world.judge.full = False
            self.world.disturb()

    def _snapshot(self, fault: Fault) -> None:
        self._snapshots[fault] = self._replica()
        if fault.target % 3 == 0:
            # The clock of this server is ahead: the one that takes over issues smaller ids.
            self._advance_ids()

    def _replica(self) -> Snapshot:
        """The data of a replica that loses its primary now."""
        judge, finished = self.world.judge, copy.deepcopy(self.world.history.finished)
        keys_ = self.world.store.dump()
        return Snapshot(keys_, judge.model.copy(), copy.deepcopy(judge.groups), finished)

    def _advance_ids(self, hours: int = 1) -> None:
        """Move the ids of new entries `hours` ahead."""
        for prefix, partition in self.world.judge.model.partitions.items():
            if partition.log is not None and not self.world.judge.full:
                partition.log.last = f"{parts(partition.log.last)[0] + hours * HOUR_MS}-0"
                self._run("XSETID", keys.log(prefix), partition.log.last)

    def _rollback(self, fault: Fault, rng: random.Random) -> None:
        """Another server without the last writes takes over, for all partitions or for some."""
        judge, snapshot = self.world.judge, self._snapshots.pop(fault, None)
        if snapshot is None:
            return  # Another server took over since, and it does not share this history.
        prefixes, names = sorted(judge.model.partitions), sorted(judge.groups)
        if fault.target % 2:
            # One script writes to several partitions only if they are on one server.
            if not self.world.history.emits or self.world.scenario.one_slot:
                prefixes = rng.sample(prefixes, rng.randint(0, len(prefixes)))
            names = rng.sample(names, rng.randint(0, len(names)))
        self._take_over(snapshot, prefixes, names)
        if fault.target % 3 == 0:
            # Its clock reaches that of the old server, beyond the ids that the old one issued.
            self.world.later(5 * rng.random(), self._advance_ids, 2)

    def _stale_reads(self, fault: Fault, rng: random.Random) -> None:
        """Another server takes over, and a worker and producers do not notice for a while."""
        self.world.former.replace(self.world.hosts, self.producers.processes, rng)
        self.world.later(fault.amount, self.world.former.end)
        for i in range(4 if fault.aim else 0):
            self.world.later(fault.amount * (i + 1) / 5, self._trim_committed)

    def _trim_committed(self) -> None:
        """All that every processor has committed leaves, the last of it, too."""
        for prefix, partition in self.world.judge.model.partitions.items():
            lowest, _ = lowest_checkpoint(partition, "refuse")
            ids = list(partition.log.entries) if partition.log else []
            left = [each for each in ids if lowest and parts(each) > parts(lowest)]
            if lowest and left:
                self._run("XTRIM", keys.log(prefix), "MINID", "=", left[0])
                partition.remove_entries(ids[: -len(left)])

    def _lost_claim(self, fault: Fault, rng: random.Random) -> None:
        """A failover loses the last claims. The clock is so far behind that the next claims get the
        same epochs, and the owners by the lost claims are paused while one worker claims all."""
        world, judge = self.world, self.world.judge
        judge.skew_ms -= HOUR_MS
        snapshot = self._replica()
        for name in sorted(judge.groups):
            every = range(self._partition_count(name))
            world.operate(self.operator, protocol.revoke(name, every))
        survivor, rollbacks = self._host(fault), world.history.rollbacks

        def strike() -> None:
            if world.history.rollbacks != rollbacks:
                return  # Another replica took over since, with its own data.
            self._take_over(snapshot, sorted(judge.model.partitions), sorted(judge.groups))
            for host in world.hosts:
                if host is not survivor:
                    world.loop.pause(host.process)
                    world.later(1.5 * world.scenario.session_timeout, self._resume, host.process)
            world.disturb()

        world.later(0.5 * world.scenario.session_timeout, strike)

    def _take_over(self, snapshot: Snapshot, prefixes: Sequence[str], names: Sequence[str]) -> None:
        """Serve these partitions and groups from the replica from now on."""
        world = self.world
        model, groups = world.judge.model, world.judge.groups
        self._snapshots.clear()
        world.former.end()
        self._make_room()
        tags = {tag(each) for each in (*prefixes, *names)}
        world.store.restore(
            {key: value for key, value in snapshot.keys.items() if tag(key.decode()) in tags}, tags
        )
        for prefix in list(model.partitions):
            if tag(prefix) in tags:
                before = model.partitions[prefix]
                after = model.partitions[prefix] = snapshot.partitions.get(prefix, Partition())
                after.elsewhere.update({**before.elsewhere, **before.known})
        for spot, ids in snapshot.finished.items():
            if tag(spot[0]) in tags:
                world.history.finished.setdefault(spot, set()).update(ids)
        for name in names:
            groups[name] = snapshot.groups.get(name, Assignments(name))
        world.history.rolled_back()
        world.store.flush_scripts()
        world.network.break_all()

    # Operators

    def _revoke(self, fault: Fault, rng: random.Random) -> None:
        for name in sorted(self.world.judge.groups):
            count = self._partition_count(name)
            chosen = rng.sample(range(count), rng.randint(1, count))
            self.world.operate(self.operator, protocol.revoke(name, chosen))
