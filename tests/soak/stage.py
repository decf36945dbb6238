"""Where a run takes place: one server, a primary under sentinels, or a cluster."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from redis.crc import key_slot
from redis.exceptions import ResponseError

from runnel import keys
from runnel.embedded.binary import Binary
from tests.fleet import ClusterFleet, Migration, SentinelFleet, ask, catches_up, is_linked, until
from tests.servers import Server
from tests.soak.app import app, entries


class Stage:
    """The servers of a run. Its methods block: call them in a thread."""

    mode: str
    #: May a failover take back what was not acknowledged?
    lossy = True

    @property
    def url(self) -> str:
        """Where clients find it."""
        raise NotImplementedError

    @property
    def servers(self) -> list[Server]:
        """Those that hold data and can be written to."""
        raise NotImplementedError

    def close(self) -> None:
        """End it and remove its data."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ServerStage(Stage):
    """One server with an append-only file, synced each time: with everysec one that is killed while
    its disk is busy loses up to two seconds. Processes reach it through proxies."""

    mode = "server"
    lossy = False

    def __init__(self, binary: Binary) -> None:
        self.server = Server(binary).start()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def servers(self) -> list[Server]:
        return [self.server]

    def close(self) -> None:
        self.server.close()


class SentinelStage(Stage):
    """A primary and one replica under three sentinels.

    One, since WAIT tells that some replica has a write, and sentinels may promote another one.
    """

    mode = "sentinel"

    def __init__(self, binary: Binary) -> None:
        # With a file, so that one that comes back and is promoted before it has followed the other
        # has what it acknowledged.
        self.fleet = SentinelFleet(binary, {"appendonly": "yes"}, replicas=1).__enter__()

    @property
    def url(self) -> str:
        return self.fleet.url

    @property
    def servers(self) -> list[Server]:
        return [self.fleet.current()]

    def failover(self) -> None:
        """As an operator asks for it."""
        primary = self.fleet.current()
        until(self.fleet.sentinels[0], self._begins)
        self.fleet.wait_until_replaced(primary)
        self._whole()

    def _begins(self, sentinel: Server) -> bool:
        """Ask for a failover; a sentinel that does not trust the replica yet is asked again."""
        try:
            ask(sentinel, "SENTINEL FAILOVER", self.fleet.NAME)
        except ResponseError as error:
            if "NOGOODSLAVE" in str(error):
                return False
            raise
        return True

    def kill(self) -> None:
        """Kill the primary; start it again once it has been replaced."""
        primary = self.fleet.current()
        primary.kill()
        self.fleet.wait_until_replaced(primary)
        primary.start()
        self._whole()

    def freeze(self) -> None:
        """Stop the primary in its tracks until it has been replaced: then it wakes, and believes
        for a moment that it is still the one."""
        primary = self.fleet.current()
        primary.pause()
        self.fleet.wait_until_replaced(primary)
        primary.resume()
        self._whole()

    def _whole(self) -> None:
        """Wait until one follows the other and all sentinels know which. It is not always the one
        that took over first: they may have found it lost in turn."""
        until(self.fleet.sentinels[0], self._is_followed)
        for sentinel in self.fleet.sentinels:
            until(sentinel, self.fleet.knows_all)
        primary = self.fleet.current()
        (follower,) = self.fleet.followers(primary)
        catches_up(follower, primary)

    def _is_followed(self, _: Server) -> bool:
        (follower,) = self.fleet.followers(self.fleet.current())
        return is_linked(follower)

    def close(self) -> None:
        self.fleet.close()


class ClusterStage(Stage):
    """Three masters, each with a replica."""

    mode = "cluster"

    def __init__(self, binary: Binary) -> None:
        self.fleet = ClusterFleet(binary).__enter__()

    @property
    def url(self) -> str:
        return self.fleet.url

    @property
    def servers(self) -> list[Server]:
        return [each for each in self.fleet.servers if "role:master" in _replication(each)]

    @property
    def partitions(self) -> list[int]:
        """The slots of the partitions."""
        names = [keys.log(entries.spec.prefix(p)) for p in range(entries.spec.partition_count)]
        return [key_slot(name.encode()) for name in names]

    @property
    def groups(self) -> list[int]:
        """The slots of the groups."""
        names = [keys.plan(each.group) for each in app.processors.values()]
        return [key_slot(name.encode()) for name in names]

    def migrate(self, slot: int, number: int) -> None:
        """Move a slot with its keys, one by one, to one of the other masters."""
        owner = self.fleet.owner(slot)
        others = [each for each in self.servers if each is not owner]
        target = others[number % len(others)]
        migration = Migration(self.fleet, slot, target)
        migration.begin()
        for name in ask(owner, "CLUSTER GETKEYSINSLOT", slot, 1000):
            migration.move(name.decode())
        migration.move()  # What came meanwhile.
        migration.end()
        self._settled(target)

    def failover(self, slot: int) -> None:
        """Let the replica of the master that has a slot take over, as an operator asks for it."""
        master = self.fleet.owner(slot)
        replica = self._replica(master)
        until(replica, is_linked)
        ask(replica, "CLUSTER FAILOVER")
        self._replaced(slot, master)

    def kill(self, slot: int) -> None:
        """Kill the master that has a slot; start it again once its replica has taken over."""
        master = self.fleet.owner(slot)
        replica = self._replica(master)
        until(replica, is_linked)
        master.kill()
        until(replica, lambda each: self.fleet.owner(slot, each) is replica)
        master.start()
        self._replaced(slot, master)

    def _replaced(self, slot: int, former: Server) -> None:
        for server in self.fleet.servers:
            until(server, lambda each: self.fleet.owner(slot, each) is not former)
            until(server, lambda each: "cluster_state:ok" in ask(each, "CLUSTER INFO"))
        until(former, is_linked)
        self._settled(self.fleet.owner(slot))

    def _settled(self, master: Server) -> None:
        """What MIGRATE and a new master wrote is on the replica, before the next one is lost."""
        catches_up(self._replica(master), master)

    def _replica(self, master: Server) -> Server:
        """The server that follows a master."""
        port = f"master_port:{master.port}"
        return next(
            each
            for each in self.fleet.servers
            if each is not master and port in _replication(each).split()
        )

    def close(self) -> None:
        self.fleet.close()


def _replication(server: Server) -> str:
    return str(ask(server, "INFO", "replication"))


STAGES: dict[str, type[ServerStage | SentinelStage | ClusterStage]] = {
    "server": ServerStage,
    "sentinel": SentinelStage,
    "cluster": ClusterStage,
}
