"""The servers of a run: one server, a primary under sentinels, or a cluster."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from redis.crc import key_slot
from redis.exceptions import ResponseError

from runnel import keys
from runnel.embedded.binary import Binary
from tests.fleet import ClusterFleet, Migration, SentinelFleet
from tests.nodes import ask, catches_up, is_linked, until
from tests.servers import Server
from tests.soak.app import app, entries, postings


class Stage:
    """The servers of a run. Its methods block: call them in a thread."""

    mode: str
    #: True if a failover may lose writes that were not acknowledged.
    lossy = True

    @property
    def url(self) -> str:
        """The URL for clients."""
        raise NotImplementedError

    @property
    def servers(self) -> list[Server]:
        """The servers that accept writes."""
        raise NotImplementedError

    def close(self) -> None:
        """End all servers and remove their data."""
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
    """One server that syncs its append-only file after every write: with `everysec`, a server that
    is killed while its disk is busy loses up to two seconds. Clients reach it through proxies."""

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

    Only one replica, since WAIT says that some replica has a write, and with more the sentinels
    might promote another one.
    """

    mode = "sentinel"

    def __init__(self, binary: Binary) -> None:
        # With an append-only file, a server that is promoted right after its restart, before it
        # has followed the other one, still has the writes that it acknowledged.
        self.fleet = SentinelFleet(binary, {"appendonly": "yes"}, replicas=1).__enter__()

    @property
    def url(self) -> str:
        return self.fleet.url

    @property
    def servers(self) -> list[Server]:
        return [self.fleet.current()]

    def failover(self) -> None:
        """Fail over as an operator does."""
        primary = self.fleet.current()
        until(self.fleet.sentinels[0], self._failover_accepted)
        self.fleet.wait_until_replaced(primary)
        self._wait_until_healthy()

    def _failover_accepted(self, sentinel: Server) -> bool:
        """Ask for a failover. False if the sentinel does not accept the replica yet."""
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
        self._wait_until_healthy()

    def freeze(self) -> None:
        """SIGSTOP the primary until it has been replaced: when it runs again, it believes for a
        moment that it is still the primary."""
        primary = self.fleet.current()
        primary.pause()
        self.fleet.wait_until_replaced(primary)
        primary.resume()
        self._wait_until_healthy()

    def _wait_until_healthy(self) -> None:
        """Wait until one server follows the other and all sentinels agree on the primary. That may
        not be the one that took over first: the sentinels may have failed over once more."""
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
        names = [
            keys.log(each.spec.prefix(partition))
            for each in (entries, postings)
            for partition in range(each.spec.partition_count)
        ]
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
        migration.move()  # Keys that were added in the meantime.
        migration.end()
        self._wait_until_replicated(target)

    def failover(self, slot: int) -> None:
        """Let the replica of the master that has a slot take over, as an operator does."""
        master = self.fleet.owner(slot)
        replica = self._replica(master)
        until(replica, is_linked)
        ask(replica, "CLUSTER FAILOVER")
        self._wait_until_replaced(slot, master)

    def kill(self, slot: int) -> None:
        """Kill the master that has a slot; start it again once its replica has taken over."""
        master = self.fleet.owner(slot)
        replica = self._replica(master)
        until(replica, is_linked)
        master.kill()
        until(replica, lambda each: self.fleet.owner(slot, each) is replica)
        master.start()
        self._wait_until_replaced(slot, master)

    def _wait_until_replaced(self, slot: int, former: Server) -> None:
        for server in self.fleet.servers:
            until(server, lambda each: self.fleet.owner(slot, each) is not former)
            until(server, lambda each: "cluster_state:ok" in ask(each, "CLUSTER INFO"))
        until(former, is_linked)
        self._wait_until_replicated(self.fleet.owner(slot))

    def _wait_until_replicated(self, master: Server) -> None:
        """Wait until the replica has the writes of MIGRATE and of a new master, before the next
        fault kills one."""
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
