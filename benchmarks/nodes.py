"""A Redis Cluster of a few masters that share the slots evenly, without replicas."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import reduce
from operator import add
from typing import Any

from redis.crc import key_slot

from benchmarks.server import Server, Snapshot, free_port

SLOTS = 16384


class Cluster:
    """Its masters are servers of this machine; what is asked of it is asked of each."""

    def __init__(self, masters: int) -> None:
        # Where each master talks to the others.
        buses = [free_port() for _ in range(masters)]
        with ExitStack() as stack:
            self._masters = [
                stack.enter_context(Server("--cluster-enabled", "yes", "--cluster-port", str(bus)))
                for bus in buses
            ]
            self._form(buses[0])
            self._stack = stack.pop_all()
        places = (f"127.0.0.1:{each.port}" for each in self._masters)
        self.url = f"redis+cluster://{','.join(places)}"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def snapshot(self) -> Snapshot:
        """The counters of all masters together."""
        return reduce(add, (each.snapshot() for each in self._masters))

    def lag(self, logs: list[str], group: str) -> int:
        """Events of all these logs that the group has not finished."""
        return sum(server.lag(keys, group) for server, keys in self._at_home(logs))

    def all_claimed(self, states: list[str]) -> bool:
        """Does a worker hold each of the partitions with these states?"""
        return all(server.all_claimed(keys) for server, keys in self._at_home(states))

    def _at_home(self, keys: list[str]) -> list[tuple[Server, list[str]]]:
        """Each master with those of the keys that it has."""
        homes: list[tuple[Server, list[str]]] = [(each, []) for each in self._masters]
        for key in keys:
            slot = key_slot(key.encode())
            home = next(n for n in range(len(homes)) if slot < self._first_slot(n + 1))
            homes[home][1].append(key)
        return homes

    def _first_slot(self, number: int) -> int:
        return SLOTS * number // len(self._masters)

    def _form(self, bus: int) -> None:
        for number, master in enumerate(self._masters):
            _ask(master, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            slots = (self._first_slot(number), self._first_slot(number + 1) - 1)
            _ask(master, "CLUSTER ADDSLOTSRANGE", *slots)
        first, *others = self._masters
        for each in others:
            _ask(each, "CLUSTER MEET", "127.0.0.1", first.port, bus)
        deadline = time.monotonic() + 20
        while not all(map(self._is_whole, self._masters)):
            if time.monotonic() > deadline:
                raise TimeoutError("the cluster has not formed in 20 s")
            time.sleep(0.02)

    def _is_whole(self, master: Server) -> bool:
        """Does this master know who has every slot?"""
        return len(_ask(master, "CLUSTER SLOTS")) == len(self._masters) and (
            "cluster_state:ok" in _ask(master, "CLUSTER INFO").decode()
        )


def _ask(master: Server, command: str, *words: object) -> Any:
    # Unparsed: redis-py's versions read these differently.
    master.redis.response_callbacks.pop(command, None)
    return master.redis.execute_command(command, *words)  # type: ignore[no-untyped-call]
