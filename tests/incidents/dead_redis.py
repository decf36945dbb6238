"""The server ends, and nobody starts it again."""

from __future__ import annotations

from typing import Any

from redis import Redis

from tests.incidents.incident import Incident, Json
from tests.incidents.scene import Scene


class DeadRedis(Incident):
    """The machine of Redis had too little memory: the kernel ended the server."""

    name = "dead-redis"

    def __init__(self) -> None:
        #: The oldest event of each log, before the server ended.
        self._oldest: dict[bytes, bytes] = {}

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        with scene.redis() as redis:
            self._oldest = _oldest(redis)
        scene.server.kill()

    def more(self, scene: Scene, report: Json) -> list[str]:
        """An empty server in the place of the old one is no end: its data must be back."""
        with scene.redis() as redis:
            gone = [log for log, id_ in self._oldest.items() if not redis.xrange(log, id_, id_)]
        if not gone:
            return []
        return [f"{len(gone)} logs have lost their events: the server runs without its data"]


def _oldest(redis: Redis) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for log in redis.scan_iter("runnel:{shop:orders:*}:orders:log"):
        entries: Any = redis.xrange(log, count=1)
        found[log] = entries[0][0]
    return found
