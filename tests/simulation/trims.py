"""Trims that strike when it matters: while a worker has read ahead, or while a read is on its way.

Each waits for its moment, by looking again and again, and gives up when that does not come.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from runnel import keys
from tests.simulation.history import Spot
from tests.simulation.host import Host
from tests.simulation.model import Partition, parts
from tests.simulation.network import Mishap
from tests.simulation.world import World

#: Seconds between two looks, and how often one looks.
_EVERY = 0.05
_LOOKS = 200


class Trims:
    """Takes the oldest events of a log away, as `XTRIM` by hand does."""

    def __init__(self, world: World) -> None:
        self.world = world

    def trim(self, prefix: str, share: float) -> None:
        """A share of the events, at once."""
        place = self.world.judge.model.at(prefix)
        ids = list(place.log.entries) if place.log else []
        if ids:
            bound = ids[int(share * len(ids))]
            self.world.backend.run([("XTRIM", keys.log(prefix), "MINID", "=", bound)])
            place.gone(id_ for id_ in ids if parts(id_) < parts(bound))

    def trim_unread(self, host: Host, rng: random.Random) -> None:
        """Events come and are trimmed, all but the last, while a read is on its way to them. Then,
        while its handler is at work, the worker that read it may have to give it back."""
        wire = self.world.network.wire(host.process)
        late = Mishap("late", "XREAD", delay=3.0)
        wire.mishaps.appendleft(late)
        before: dict[str, int] = {}
        leaves = rng.random() < 0.7

        def strike() -> bool:
            if any(each is late for each in wire.mishaps):
                return False
            for prefix, place in self._places():
                added = place.log.added if place.log else 0
                if place.log and place.log.entries and added > before.setdefault(prefix, added) + 1:
                    self.trim(prefix, 0.999)
                    if leaves:
                        self._when(partial(self._leave_at_work, host, prefix))
                    return True
            return False

        self._when(strike)

    def trim_ahead(self) -> None:
        """What a worker has read ahead is trimmed, and the last event that it has read."""
        prefetch = self.world.scenario.prefetch

        def strike() -> bool:
            for (prefix, _), in_hand in self._in_hand():
                log = self.world.judge.model.at(prefix).log
                if log and len(log.behind(in_hand[-1])) > prefetch + 1:
                    self.trim(prefix, 0.999)
                    return True
            return False

        self._when(strike)

    def _leave_at_work(self, host: Host, prefix: str) -> bool:
        held = {spot for spot, _ in host.leases()}
        if any(spot[0] == prefix and spot in held for spot, _ in self._in_hand()):
            self.world.leave(host)
            self.world.later(2 * self.world.scenario.session, self.world.start, host)
            return True
        return False

    def _in_hand(self) -> list[tuple[Spot, list[str]]]:
        """Where handlers are at work, and on what."""
        tenures = self.world.history.tenures.items()
        return [(spot, tenure.in_hand) for (spot, _), tenure in tenures if tenure.in_hand]

    def _places(self) -> list[tuple[str, Partition]]:
        return list(self.world.judge.model.partitions.items())

    def _when(self, strike: Callable[[], bool], looks: int = _LOOKS) -> None:
        if not strike() and looks:
            self.world.later(_EVERY, self._when, strike, looks - 1)
