"""A virtual machine that runs one worker after the other."""

from __future__ import annotations

from runnel.delivery.partition_queue import PartitionQueue
from runnel.worker.member import Member
from runnel.worker.worker import Worker
from tests.simulation.handled import Spot
from tests.simulation.loop import Process


class Host:
    """All its workers have the same name, so the member id stays the same across restarts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts = 0
        #: When its worker was last started.
        self.since = 0.0
        self.process = Process(f"{name}.0")
        self.worker: Worker | None = None
        #: Processor -> the group member of the worker that runs, or ran last.
        self.members: dict[str, Member] = {}
        #: running, leaving or down.
        self.state = "down"
        #: A handler of its worker blocks the event loop.
        self.blocked = False

    def queues(self) -> list[tuple[Spot, PartitionQueue]]:
        """The partitions that its worker believes it owns."""
        return [
            ((member.processor.stream.prefix(partition), name), queue)
            for name, member in self.members.items()
            for partition, queue in member.queues.items()
        ]
