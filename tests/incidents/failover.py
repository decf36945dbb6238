"""A primary dies, and no sentinels are left that could agree on another one."""

from __future__ import annotations

from redis.exceptions import ResponseError

from tests.fleet import SentinelFleet
from tests.incidents.incident import Incident
from tests.incidents.scene import Scene
from tests.nodes import ask
from tests.servers import Server


class Failover(Incident):
    """A rack has lost its power: the primary was there, and two of the three sentinels."""

    name = "failover"

    def scene(self) -> Scene:
        return Scene(servers=SentinelFleet(replicas=1, options={"appendonly": "yes"}))

    def begin(self, scene: Scene) -> None:
        fleet = scene.servers
        assert isinstance(fleet, SentinelFleet)
        self.settle(scene)
        for server in (*fleet.sentinels[1:], fleet.primary):
            server.kill()
        scene.until(lambda: not _can_choose(fleet.sentinels[0]), "the last sentinel is alone")


def _can_choose(sentinel: Server) -> bool:
    try:
        ask(sentinel, "SENTINEL CKQUORUM", SentinelFleet.NAME)
    except ResponseError:
        return False
    return True
