"""Sends redis-py's own commands and pub/sub to the right node of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, ConnectionError, TimeoutError

from runnel.connection.cluster import Cluster, NodeAddress
from runnel.connection.deployment import ManyServers

#: Commands without a key that any node can answer.
_ANYWHERE = {"PING", "TIME", "INFO", "PUBLISH", "CLUSTER INFO", "CLUSTER SLOTS"}
#: Commands that do not belong to a single node, by redis-py's list, and XREAD, which that leaves
#: out.
_NO_ONE_NODE = {*RedisCluster.COMMAND_FLAGS, "XREAD"}


class ClusterClient(ManyServers):
    """A client for plain commands.

    A command with a key goes to the node of its slot. Other commands and pub/sub go to any node:
    `pool` makes `AnyNode` connections, and is closed with the client.
    """

    deployment: Cluster

    def __init__(self, cluster: Cluster, pool: ConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.deployment = cluster
        cluster.client = self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command. Raises TypeError for one that would concern every node."""
        name = str(args[0]).upper()
        if name in _ANYWHERE:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        at = 3 if name.startswith("EVAL") else 1
        if len(args) <= at or name in _NO_ONE_NODE:
            raise TypeError(f"{name} concerns no one node of a cluster: use `deployment`")
        words = (*str(args[0]).split(), *args[1:])
        (outcome,) = await self.deployment.send([(args[at], words)])
        if isinstance(outcome, Exception):
            raise outcome
        # As redis-py does with a reply.
        options.pop("keys", None)
        callback = self.response_callbacks.get(args[0])
        return outcome if callback is None else callback(outcome, **options)

    def pipeline(self, *_: Any, **__: Any) -> Any:
        """Raises TypeError: a cluster has no pipeline."""
        raise TypeError(
            "a cluster has no pipeline: use deployment.send, or that of client_for(key)"
        )

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to all nodes, even when it is cancelled meanwhile."""
        try:
            await super().aclose(close_connection_pool)
        finally:
            await self.deployment.close()

    def abandon(self) -> None:
        """See `Client.abandon`."""
        super().abandon()
        self.deployment.abandon()


class AnyNode(Connection):
    """A connection to the first node that answers."""

    def __init__(self, addresses: Callable[[], list[NodeAddress]], **options: Any) -> None:
        super().__init__(**options)
        self._addresses = addresses

    async def connect(self) -> None:
        """Try one node after another. Raises the last one's error."""
        if self.is_connected:
            return
        failure: Exception = ConnectionError("the URL names no node")
        for address in self._addresses():
            self.host, self.port = address
            try:
                await super().connect()  # type: ignore[no-untyped-call]
                return
            except AuthenticationError:
                raise
            except (ConnectionError, TimeoutError, OSError) as error:
                failure = error
        raise failure


class AnyNodeTLS(AnyNode, SSLConnection):
    """`AnyNode` with TLS."""
