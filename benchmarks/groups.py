"""What a group looks like from outside while workers come and go."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.records import stream_name
from benchmarks.server import Server
from runnel import keys, protocol
from runnel.scripts import sources


class Watched:
    """The group of one processor."""

    def __init__(self, server: Server, record: str, partitions: int, processor: str) -> None:
        self._redis: Any = server.redis
        self._partitions = partitions
        self._redis.script_load(sources()["roster"].decode())
        self._call = protocol.roster(
            keys.group("bench", stream_name(record, partitions), processor)
        )

    def holders(self) -> dict[int, str]:
        """Partition -> the member that holds it, where nothing is about to change."""
        roster = protocol.read_roster(self._redis.execute_command(*self._call.command()))
        return {
            each.partition: each.holder
            for each in roster.assignments
            if each.holder is not None and each.holder == each.target
        }

    def shared_by(self, members: int) -> bool:
        """Do so many members hold all partitions, as evenly as can be?"""
        shares = Counter(self.holders().values())
        return (
            len(shares) == members
            and shares.total() == self._partitions
            and max(shares.values()) - min(shares.values()) <= 1
        )
