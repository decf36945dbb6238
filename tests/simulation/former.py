"""A primary that was replaced, and that some have not noticed yet.

Producers still send to it, and get no reply: nobody else ever has these events, and they send them
again, to the server that took over. A worker still reads logs from it. All its calls reach the new
server.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from runnel import keys
from tests.simulation.additions import entries_in
from tests.simulation.host import Host
from tests.simulation.judge import Judge
from tests.simulation.loop import Process
from tests.simulation.network import Network
from tests.simulation.store import Command
from tests.simulation.stored import Fields, split

#: The sequence in the id of the first event that only the former primary has: so no other has it.
_FIRST = 1_000_000_000


class FormerPrimary:
    """Serves those that have not noticed. Its logs are in a database of their own."""

    def __init__(self, judge: Judge, network: Network, disturb: Callable[[], None]) -> None:
        self._judge = judge
        self._network = network
        self._disturb = disturb
        self._reader: Process | None = None
        #: Does the reader look for the entries at its cursors there, too? Its feed always does.
        self._looks = False
        self._senders: set[Process] = set()
        #: The requests that were applied here.
        self._applied: set[tuple[Any, ...]] = set()
        self._ids = 0

    @property
    def active(self) -> bool:
        """Has somebody not noticed yet?"""
        return self._reader is not None

    def replace(
        self, hosts: Sequence[Host], senders: Sequence[Process], rng: random.Random
    ) -> None:
        """Another server takes over now. One of the hosts and some senders do not notice."""
        running = [each for each in hosts if each.state == "running"]
        if self.active or self._judge.full or not running:
            return
        host = rng.choice(running)
        model = self._judge.model
        self._judge.store.copy_logs([keys.log(each) for each in sorted(model.partitions)])
        self._reader, self._looks = host.process, rng.random() < 0.5
        self._senders = {each for each in senders if rng.random() < 0.5}
        self._applied = set()
        self._network.unanswered.update(self._senders)

    def end(self) -> None:
        """All notice."""
        if self._reader is None:
            return
        self._network.unanswered.clear()
        for each in (self._reader, *sorted(self._senders, key=str)):
            self._network.break_connections(self._network.wire(each))
        self._reader, self._senders = None, set()
        self._disturb()

    def execute(self, process: Process, commands: Sequence[Command]) -> list[Any] | None:
        """The replies to commands that arrive here, or None if they reach the new server."""
        if process in self._senders:
            for each in commands:
                self._append(process, each)
            return [None] * len(commands)  # These get lost.
        if process is not self._reader or not all(map(_reads_logs, commands)):
            return None
        if commands[0][0] != "XREAD" and not self._looks:
            return None
        return self._judge.read_former(process, commands)

    def _append(self, process: Process, command: Command) -> None:
        call = self._judge.call_of(command)
        if call is None or call.script != "append" or self._judge.full:
            return
        if (request := (call.keys[0], *call.args[5:7])) in self._applied:
            return
        self._applied.add(request)
        prefix = split(call.keys[0])[0]
        entries: list[Fields] = entries_in(call.args[7:])
        first = self._ids + _FIRST
        self._ids += len(entries)
        ids = self._judge.store.add_to_former(call.keys[0], entries, first)
        self._judge.trace.know(prefix, ids)
        self._judge.trace.say(process, f"sends {len(ids)} to the former primary of {prefix}")
        self._judge.model.at(prefix).elsewhere.update(zip(ids, entries, strict=True))
        self._network.entries_added(call.keys[0])


def _reads_logs(command: Command) -> bool:
    return command[0] == "XREAD" or (
        command[0] == "XRANGE" and split(command[1])[1:] == ("log", "")
    )
