"""Have members settled as fast as they must, and is everything processed?"""

from __future__ import annotations

from runnel.core.read_limits import OVERHEAD
from tests.simulation.application import Application
from tests.simulation.emitting import MOST
from tests.simulation.host import Host
from tests.simulation.network import TIMEOUT
from tests.simulation.outboxes import unforwarded
from tests.simulation.scenario import SLOW, WIRE
from tests.simulation.trace import Violation

#: Seconds between two looks.
_EVERY = 0.25
#: Bytes of an event without its filling, and more.
_SMALL = 1000


class Settling:
    """Looks on."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.world = application.world
        #: Since when the members have been settled, and what was the last disturbance then.
        self._since = self._disturbed = 0.0
        #: Partition -> when its log was last seen full.
        self._full: dict[str, float] = {}

    def watch(self) -> None:
        """From time to time: have the members settled as fast as they must?"""
        if not self.world.network.closed:
            now = self.world.loop.time()
            must = now - self.world.disturbed > self.bound
            if not self.settled(must) or self._disturbed != self.world.disturbed:
                self._since, self._disturbed = now, self.world.disturbed
            if must or not self.world.scenario.loses_keys:
                self._promoted()
            for host in self.world.hosts:
                self._bounded(host)
            self.world.later(_EVERY, self.watch)

    def _promoted(self) -> None:
        """L1: what is due enters the log soon, if there is room."""
        now, s, time = self.world.judge.now_ms, self.world.scenario, self.world.loop.time()
        for prefix in self.application.prefixes():
            place = self.world.judge.model.at(prefix)
            if place.log is None or len(place.log.entries) >= s.partition_size:
                self._full[prefix] = time
            due = min((each for each, _ in place.delayed.values()), default=now)
            quiet = time - max(self._since, self._full.get(prefix, 0.0))
            if now - due > s.promotion_bound * 1000 and quiet > s.promotion_bound:
                raise Violation("L1", f"{prefix}: an event is due for {now - due} ms")

    def _bounded(self, host: Host) -> None:
        """L4: what waits in the memory of a worker has a bound in bytes: twice what is set, since a
        partition has its share though others that were alone have taken more than theirs; and an
        event of each partition that comes unasked, and one that was given back."""
        buffers = [queue.state.buffer for _, queue in host.queues()]
        waiting = sum(sum(map(len, raw[1])) + OVERHEAD for each in buffers for raw in each)
        s = self.world.scenario
        most = 2 * s.prefetch_bytes + len(buffers) * 2 * (s.filling + _SMALL)
        if host.state == "running" and waiting > most:
            raise Violation("L4", f"{host.process} has {waiting} bytes in memory, not {most}")

    @property
    def bound(self) -> float:
        """L1: seconds after which members must have settled."""
        s = self.world.scenario
        in_hand = max(each.longest(s.work[1]) for each in s.shapes)
        bound = s.session_timeout * 5 / 3 + s.rebalance_delay + in_hand + 24 * s.delay[1] + 0.3
        if any(each.kind in WIRE or each.kind in SLOW for each in s.faults):
            bound += TIMEOUT + 2.0 + s.session_timeout / 3
        return bound

    def settled(self, must: bool) -> bool:
        """Is every partition held by whom it should be? Raises Violation if it must be."""
        if any(host.blocked for host in self.world.hosts) or self.world.former.active:
            return False
        running = [host for host in self.world.hosts if host.state == "running"]
        if any(group.membership.retiring for host in running for group in host.members.values()):
            return False  # It ends by HALT.
        wires = [self.world.network.wire(host.process) for host in self.world.hosts]
        if any(wire.state == "deaf" for wire in wires) or self.world.judge.full:
            return False
        live = {
            host.name
            for host, wire in zip(self.world.hosts, wires, strict=True)
            if host.state == "running" and not host.process.paused and wire.state == "up"
        }
        problem = self._unsettled(live, must) if live else None
        if problem and must:
            since = f"{self.bound:.2f} s after {self.world.disturbed:.4f}"
            raise Violation("L1", f"{since}, with {sorted(live)}: {problem}")
        return problem is None

    def _unsettled(self, live: set[str], must: bool) -> str | None:
        for processor in self.application.app.processors.values():
            group = self.world.judge.groups.get(processor.group)
            if group is None:
                return f"{processor.name} has no group"
            if set(group.now.sessions) != live:
                return f"members of {processor.name} are {group.now.sessions}"
            for p in range(processor.stream.partition_count):
                plan = group.now.partition(p)
                spot = (processor.stream.prefix(p), processor.name)
                state = self.world.judge.model.at(spot[0]).states.get(processor.name)
                queue = state and (state.get("owner"), state.get("grant"), state.get("released"))
                if plan.owner not in live or plan.owner != plan.target:
                    return f"{processor.name} {p}: {plan}"
                for host in self.world.hosts:
                    if host.name in live - {plan.owner} and spot in dict(host.queues()):
                        return f"{host.name} keeps {processor.name} {p} too: {plan}"
                # What a partition lost is found by whoever writes there next, or in turn.
                if (
                    queue != (plan.owner, str(plan.grant), "0")
                    and not self.world.scenario.loses_keys
                ):
                    return f"{processor.name} {p}: {plan}, {state}"
            counts = [0] * len(live)
            for p in range(processor.stream.partition_count):
                counts[sorted(live).index(group.now.partition(p).owner)] += 1
            if max(counts) - min(counts) > 1:
                return f"{processor.name} is unequal: {group.now.fields}"
            generation = group.now.number("generation")
            steady = must and not self.world.scenario.loses_keys
            if steady and self.world.calm.setdefault(processor.name, generation) != generation:
                raise Violation("L9", f"{processor.name} changed though nothing happened")
        return None

    def open(self) -> list[str]:
        """What is not processed yet."""
        found = []
        for prefix, name in self.application.spots():
            place = self.world.judge.model.at(prefix)
            state, log = place.states.get(name), place.log
            behind = log.after(state["checkpoint"]) if log and state else []
            unsaid = bool(log and state and state["read"] != str(log.added) and not place.keys_lost)
            if place.delayed:
                found.append(f"{len(place.delayed)} delayed events wait in {prefix}")
            if state is None or behind or unsaid:
                found.append(f"{name} {prefix}: {len(behind)} behind {state}")
        return found + unforwarded(self.world.judge.model)

    def work_left(self) -> float:
        """Seconds that handlers need for all that is not processed, one after the other."""
        entries = 0
        for prefix, name in self.application.spots():
            place = self.world.judge.model.at(prefix)
            at = place.states.get(name, {}).get("checkpoint", "0-0")
            leads_to = 1 + MOST if name in self.world.history.emits else 1
            entries += leads_to * len(place.log.after(at)) if place.log else 0
        return entries * (self.world.scenario.work[1] + 4 * self.world.scenario.delay[1])
