"""Trims that strike when it matters: while a worker has read ahead, or a call is on its way.

Each waits for its moment, by looking again and again, and gives up when that does not come.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from runnel import keys
from tests.simulation.handled import Spot
from tests.simulation.host import Host
from tests.simulation.network import Mishap
from tests.simulation.producers import Producers
from tests.simulation.removals import lowest_checkpoint
from tests.simulation.stored import parts
from tests.simulation.world import World

#: Seconds between two looks, and how often one looks.
_EVERY = 0.02
_LOOKS = 500


class Trims:
    """Takes the oldest events of a log away, as `XTRIM` by hand does."""

    def __init__(self, world: World, producers: Producers) -> None:
        self.world = world
        self.producers = producers

    def trim(self, prefix: str, share: float) -> None:
        """A share of the events, at once."""
        place = self.world.judge.model.at(prefix)
        ids = list(place.log.entries) if place.log else []
        if ids:
            bound = ids[int(share * len(ids))]
            self.world.store.run([("XTRIM", keys.log(prefix), "MINID", "=", bound)])
            place.remove_entries(id_ for id_ in ids if parts(id_) < parts(bound))

    def trim_unread(self, host: Host, rng: random.Random) -> None:
        """While a read is on its way that does not look at the cursor of a partition at rest,
        events come there and are trimmed, all but the last. Then, while its handler is at work,
        the worker that read that may have to give the partition back."""
        wire = self.world.network.wire(host.process)
        # Long enough for what follows, and short: a heartbeat finds what is lost at rest.
        late = Mishap("late", "XREAD", delay=0.1 + 8 * self.world.scenario.delay[1])
        wire.mishaps.appendleft(late)
        leaves = rng.random() < 0.5
        #: The partition that was chosen, and how many events were added to it before.
        chosen: list[tuple[str, int]] = []

        def strike() -> bool:
            if any(each is late for each in wire.mishaps):
                return False
            if not chosen:
                chosen.extend(self._unwatched(host))
                for prefix, _ in chosen:
                    self.producers.send_some(prefix, 3)
                return False
            ((prefix, before),) = chosen
            log = self.world.judge.model.at(prefix).log
            if log and log.entries and log.added > before + 1:
                self.trim(prefix, 0.999)
                if leaves:
                    self._when(partial(self._leave_at_work, host, prefix))
                return True
            return False

        self._when(strike)

    def _unwatched(self, host: Host) -> list[tuple[str, int]]:
        """The first partition at rest that is being read without a look at its cursor."""
        for (prefix, _), queue in host.queues():
            if not self.producers.sends_to(prefix):
                continue
            state, log = queue.state, self.world.judge.model.at(prefix).log
            if log and state.reading and state.settled and not state.verify_next:
                return [(prefix, log.added)]
        return []

    def lose_group(self, prefix: str, rng: random.Random) -> None:
        """A log loses a consumer group."""
        log = self.world.judge.model.at(prefix).log
        if log is not None and log.groups:
            name = rng.choice(sorted(log.groups))
            self.world.store.run([("XGROUP", "DESTROY", keys.log(prefix), name)])
            del log.groups[name]

    def lose_group_at_trim(self, host: Host, rng: random.Random) -> None:
        """While a worker's trim is on its way, partitions that have something to trim lose a
        consumer group. Else their owners register it again too soon."""
        mishaps = self.world.network.wire(host.process).mishaps
        late = Mishap("late", "trim", delay=0.05 + 4 * self.world.scenario.delay[1])
        mishaps.appendleft(late)

        def strike() -> bool:
            if any(each is late for each in mishaps):
                return False
            old = sorted(
                {prefix for (prefix, _), _ in host.queues() if self._has_committed(prefix)}
            )
            for prefix in old:
                self.lose_group(prefix, rng)
            if not old:
                mishaps.appendleft(late)
            return bool(old)

        self._when(strike)

    def _has_committed(self, prefix: str) -> bool:
        """Has a log an entry before the lowest checkpoint?"""
        place = self.world.judge.model.at(prefix)
        lowest, _ = lowest_checkpoint(place, "refuse")
        first = next(iter(place.log.entries), None) if place.log else None
        return first is not None and lowest is not None and parts(first) < parts(lowest)

    def trim_ahead(self) -> None:
        """What a worker has read ahead is trimmed, and the last event that it has read."""
        prefetch = self.world.scenario.prefetch

        def strike() -> bool:
            for (prefix, _), in_hand in self._in_hand():
                log = self.world.judge.model.at(prefix).log
                if log and len(log.after(in_hand[-1])) > prefetch + 1:
                    self.trim(prefix, 0.999)
                    return True
            return False

        self._when(strike)

    def _leave_at_work(self, host: Host, prefix: str) -> bool:
        held = {spot for spot, _ in host.queues()}
        if any(spot[0] == prefix and spot in held for spot, _ in self._in_hand()):
            self.world.leave(host)
            self.world.later(2 * self.world.scenario.session_timeout, self.world.start, host)
            return True
        return False

    def _in_hand(self) -> list[tuple[Spot, list[str]]]:
        """Where handlers are at work, and on what."""
        tenures = self.world.history.tenures.items()
        return [(spot, tenure.in_hand) for (spot, _), tenure in tenures if tenure.in_hand]

    def _when(self, strike: Callable[[], bool], looks: int = _LOOKS) -> None:
        if not strike() and looks:
            self.world.later(_EVERY, self._when, strike, looks - 1)
