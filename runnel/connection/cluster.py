"""A Redis Cluster: finds the node that has a key, and follows keys that move to another node.

See `runnel.connection.deployment` for how to use it.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from runnel.connection.deployment import (
    Command,
    Deployment,
    Sources,
    carry_out,
    exchange,
)
from runnel.connection.durability import AckRequirement
from runnel.connection.redis_client import Client, close_all

SLOTS = REDIS_CLUSTER_HASH_SLOTS
#: Host and port of a node.
NodeAddress = tuple[str, int]

#: Seconds before a command that a cluster refused is sent again. Their sum is long enough for a
#: slot to move, and short enough for a caller that has to renew its session.
PAUSES = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
#: Error word of a node that did not run a command -> class of the error.
_REFUSAL_WORDS: dict[str, type[ResponseError]] = {
    "MOVED": MovedError,
    "ASK": AskError,
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": MasterDownError,
}
_REFUSALS = tuple(_REFUSAL_WORDS.values())
_LOST = (ConnectionError, TimeoutError, OSError)


class Cluster(Deployment):
    """A Redis Cluster. Knows which primary has which slot, and learns from redirects.

    MOVED, ASK, TRYAGAIN and CLUSTERDOWN mean that the command did not run. It is sent again to the
    right node, after growing pauses. If it is refused each time, its outcome is a ConnectionError,
    as for a server that does not answer.
    """

    one_slot = True

    def __init__(
        self, seeds: Iterable[NodeAddress], connect: Callable[[NodeAddress], Client]
    ) -> None:
        self._seeds = tuple(seeds)
        self._connect = connect
        self._clients: dict[NodeAddress, Client] = {}
        #: Slot -> its primary.
        self._primaries: list[NodeAddress | None] = [None] * SLOTS
        self._nodes: tuple[NodeAddress, ...] = ()
        #: Nodes that did not answer the last time.
        self._lost: set[NodeAddress] = set()
        self._stale = True
        self._closed = False
        self._refreshing = asyncio.Lock()
        #: How often the slots were fetched.
        self._fetches = 0

    def addresses(self) -> list[NodeAddress]:
        """The nodes to try: the known ones in random order, then those of the URL; those that did
        not answer the last time at the end."""
        known = random.sample(self._nodes, len(self._nodes))
        addresses = [*known, *(seed for seed in self._seeds if seed not in known)]
        return sorted(addresses, key=lambda address: address in self._lost)

    def node_of(self, key: str) -> Hashable:
        return self._primary_of(key)

    def client_for(self, key: str) -> Client:
        return self._client(self._primary_of(key))

    def own_client_for(self, key: str) -> Client:
        return self._connect(self._primary_of(key))

    async def primaries(self) -> list[Client]:
        if self._stale:
            await self.refresh()
        return [self._client(node) for node in sorted({each for each in self._primaries if each})]

    async def refresh(self) -> None:
        before = self._fetches
        async with self._refreshing:
            if self._fetches != before:
                return  # Another caller has fetched them meanwhile.
            await self._fetch_slots()
            self._fetches += 1
            self._stale = False

    async def wait_for_orphans(self) -> None:
        for client in list(self._clients.values()):
            await client.wait_for_orphans()

    def abandon(self) -> None:
        """Close the connections to all nodes when the event loop does not run any more."""
        for client in self._clients.values():
            client.abandon()

    async def close(self) -> None:
        """Close the clients of all nodes, even when it is cancelled meanwhile."""
        clients, self._clients = list(self._clients.values()), {}
        self._stale = self._closed = True
        await close_all(clients)

    async def send(
        self,
        commands: Sequence[Command],
        sources: Sources | None = None,
        ack: AckRequirement | None = None,
    ) -> list[Any]:
        outcomes: list[Any] = [None] * len(commands)
        #: Index of each command that is still to be sent -> the node that ASK named for it.
        left: dict[int, NodeAddress | None] = dict.fromkeys(range(len(commands)))

        async def to_node(node: NodeAddress | None, asking: bool, indices: list[int]) -> None:
            batch = [commands[i] for i in indices]
            if node is None:
                replies: list[Any] = [ClusterDownError("no node has the slot")] * len(indices)
            else:
                client = self._client(node)
                replies = await carry_out(client, batch, sources or {}, asking, ack)
            for i, reply in zip(indices, map(typed, replies), strict=True):
                outcomes[i] = reply
                self._learn(node, reply)
                if not isinstance(reply, _REFUSALS):
                    del left[i]
                else:
                    left[i] = _target(reply, node) if isinstance(reply, AskError) else None

        for pause in (None, *PAUSES):
            if pause is not None:
                await asyncio.sleep(pause)
            failure = await self._refreshed()
            if failure is not None:
                for i in left:
                    outcomes[i] = failure
                return outcomes
            batches = self._batches(commands, left).items()
            await asyncio.gather(*(to_node(*where, indices) for where, indices in batches))
            if not left:
                return outcomes
        for i in left:
            refusal = outcomes[i]
            outcomes[i] = ConnectionError(f"the cluster refused it each time: {refusal}")
            outcomes[i].__cause__ = refusal
        return outcomes

    async def _refreshed(self) -> Exception | None:
        """Fetch the slots if they are known to be stale. Returns the error if no node answers."""
        try:
            if self._stale:
                await self.refresh()
        except (RedisError, OSError) as error:
            return error
        return None

    def _batches(
        self, commands: Sequence[Command], left: dict[int, NodeAddress | None]
    ) -> dict[tuple[NodeAddress | None, bool], list[int]]:
        """(node, whether ASKING goes before each command) -> indices of its commands."""
        batches: defaultdict[tuple[NodeAddress | None, bool], list[int]] = defaultdict(list)
        for i, asked in left.items():
            node = asked or self._primaries[_slot(commands[i][0])]
            batches[node, asked is not None].append(i)
        return batches

    def _learn(self, node: NodeAddress | None, reply: Any) -> None:
        """Correct what is known about the cluster by what a node answered."""
        if isinstance(reply, MovedError):
            self._primaries[reply.slot_id] = _target(reply, node)
        if isinstance(reply, (MovedError, ClusterDownError, *_LOST)):
            self._stale = True
        if node is not None:
            (self._lost.add if isinstance(reply, _LOST) else self._lost.discard)(node)

    async def _fetch_slots(self) -> None:
        """Ask one node after another for the slots, until one says that the cluster is well."""
        failure: Exception = ConnectionError("the URL names no node")
        slots: list[Any] | None = None
        for node in self.addresses():
            questions = (("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))
            info, reply = map(typed, await exchange(self._client(node), questions))
            self._learn(node, reply)
            if isinstance(reply, AuthenticationError):
                raise reply
            if isinstance(reply, Exception):
                failure = reply
                continue
            slots = [(node, each) for each in reply]
            if isinstance(info, Exception) or fields(info).get("cluster_state") == "ok":
                break
        if slots is None:
            raise failure
        self._store_slots(slots)

    def _store_slots(self, slots: list[Any]) -> None:
        """`slots` are rows of CLUSTER SLOTS, each with the node that sent it."""
        primaries: list[NodeAddress | None] = [None] * SLOTS
        nodes: dict[NodeAddress, None] = {}
        for asked, (first, last, *members) in slots:
            found = [_address(_text(each[0]), int(each[1]), asked) for each in members]
            nodes.update(dict.fromkeys(found))
            primaries[first : last + 1] = [found[0]] * (last + 1 - first)
        self._primaries, self._nodes = primaries, tuple(nodes)

    def _primary_of(self, key: str) -> NodeAddress:
        node = self._primaries[_slot(key)]
        if node is None:
            raise ClusterDownError(f"no node of the cluster has the slot of {key}")
        return node

    def _client(self, node: NodeAddress) -> Client:
        if node not in self._clients:
            self._clients[node] = client = self._connect(node)
            if self._closed:  # A call that is in flight continues.
                client.close_own()
        return self._clients[node]


def typed(reply: Any) -> Any:
    """The reply; the refusal of a cluster node as an error of its own class. redis-py 5 gives these
    classes to its own cluster client only."""
    if type(reply) is not ResponseError:
        return reply
    word, _, details = str(reply).partition(" ")
    return _REFUSAL_WORDS[word](details) if word in _REFUSAL_WORDS else reply


def _target(redirect: AskError, asked: NodeAddress | None) -> NodeAddress:
    return _address(redirect.host, redirect.port, asked)


def _address(host: str, port: int, asked: NodeAddress | None) -> NodeAddress:
    """The address of a node. An empty host in a reply means the host that was asked."""
    return (asked[0] if asked and host in ("", "?") else host), port


def _slot(key: str | bytes) -> int:
    return key_slot(key if isinstance(key, bytes) else key.encode())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def fields(info: bytes) -> dict[str, str]:
    """The reply of CLUSTER INFO as a dict."""
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
