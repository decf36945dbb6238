"""What happens to the keys of partitions and groups: entries and whole keys disappear."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from runnel import keys
from tests.simulation.application import Application
from tests.simulation.assignments import read_group
from tests.simulation.host import Host
from tests.simulation.producers import Producers
from tests.simulation.scenario import LOSE_DELAYED, LOSE_GROUP_AT_TRIM, Fault
from tests.simulation.stored import Partition
from tests.simulation.trims import Trims


class Losses:
    """Takes entries and keys away, and tells the model. `host` names the target of a fault."""

    def __init__(
        self, application: Application, producers: Producers, host: Callable[[Fault], Host]
    ) -> None:
        self.application = application
        self.world = application.world
        self._host = host
        self._trims = Trims(application.world, producers)

    def faults(self) -> dict[str, Callable[[Fault], None]]:
        """Kind of fault -> the method that injects it."""
        return {
            "trim": self.trim,
            "trim_unread": self.trim_unread,
            "trim_ahead": self.trim_ahead,
            "delete": self.delete,
            "lose_log": self.lose_log,
            "lose_group": self.lose_group,
            LOSE_GROUP_AT_TRIM: self.lose_group_at_trim,
            "lose_state": self.lose_state,
            "lose_meta": self.lose_meta,
            LOSE_DELAYED: self.lose_delayed,
            "lose_plan": self.lose_plan,
        }

    def trim(self, fault: Fault) -> None:
        """A share of the events of a partition is trimmed."""
        self._trims.trim(self._partition(fault)[0], fault.amount)

    def trim_unread(self, fault: Fault) -> None:
        """Events are trimmed while a read is on its way: see `Trims`."""
        self._trims.trim_unread(self._host(fault), self._random(fault))

    def trim_ahead(self, fault: Fault) -> None:
        """Events that were read ahead are trimmed: see `Trims`."""
        self._trims.trim_ahead()

    def delete(self, fault: Fault) -> None:
        """Some of the newest events are deleted one by one."""
        prefix, partition = self._partition(fault)
        if partition.log is None or not partition.log.entries:
            return
        ids = list(partition.log.entries)[-5:]
        rng = self._random(fault)
        chosen = rng.sample(ids, rng.randint(1, len(ids)))
        self._run("XDEL", keys.log(prefix), *chosen)
        partition.remove_entries(chosen)
        partition.deleted.update(chosen)

    def lose_log(self, fault: Fault) -> None:
        """A log disappears."""
        prefix, partition = self._partition(fault)
        if partition.log is not None:
            partition.remove_entries(list(partition.log.entries))
        partition.log, partition.keys_lost = None, True
        self._run("DEL", keys.log(prefix))
        self.world.store.let_a_millisecond_pass()

    def lose_group(self, fault: Fault) -> None:
        """A consumer group disappears."""
        prefix, _ = self._partition(fault)
        self._trims.lose_group(prefix, self._random(fault))

    def lose_group_at_trim(self, fault: Fault) -> None:
        """Consumer groups disappear while a trim is on its way: see `Trims`."""
        self._trims.lose_group_at_trim(self._host(fault), self._random(fault))

    def lose_state(self, fault: Fault) -> None:
        """The state of a processor disappears."""
        prefix, partition = self._partition(fault)
        for name in sorted(partition.states)[:1]:
            self._run("DEL", keys.state(prefix, name))
            del partition.states[name]
            partition.keys_lost = True

    def lose_meta(self, fault: Fault) -> None:
        """Meta disappears."""
        prefix, partition = self._partition(fault)
        self._run("DEL", keys.meta(prefix))
        partition.meta = {}

    def lose_delayed(self, fault: Fault) -> None:
        """All delayed events of a partition disappear."""
        prefix, partition = self._partition(fault)
        self._run("DEL", keys.delayed(prefix))
        partition.delayed = {}

    def lose_plan(self, fault: Fault) -> None:
        """Keys of all groups disappear."""
        world, rng = self.world, self._random(fault)
        for name, group in sorted(world.judge.groups.items()):
            names = [keys.plan(name), keys.members(name), keys.sessions(name)]
            self._run("DEL", *rng.sample(names, rng.choice((1, 1, 2, 3))))
            group.now = read_group(world.store.run(group.probes()))
            group.highest_grant, group.keys_lost = 0, True

    def _partition(self, fault: Fault) -> tuple[str, Partition]:
        prefixes = self.application.prefixes()
        prefix = prefixes[fault.target % len(prefixes)]
        return prefix, self.world.judge.model.at(prefix)

    def _random(self, fault: Fault) -> random.Random:
        return random.Random(f"{self.world.scenario.seed} {fault}")

    def _run(self, *command: Any) -> None:
        (reply,) = self.world.store.run([command])
        if isinstance(reply, Exception):
            raise reply
