"""A Redis Cluster: which node has which key, and what to do when it is another one.

See `runnel.connection.deployment` for how this is used.
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

#: Seconds before a command that a cluster refused is sent again: in all long enough for a slot to
#: move, and short enough to tell the caller, who may have a session to keep.
PAUSES = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
#: Error word -> what it means that a node did not run a command.
_WORDS: dict[str, type[ResponseError]] = {
    "MOVED": MovedError,
    "ASK": AskError,
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": MasterDownError,
}
_REFUSALS = tuple(_WORDS.values())
_LOST = (ConnectionError, TimeoutError, OSError)


class Cluster(Deployment):
    """A Redis Cluster. Knows which primary has which slot, and corrects that as it is told.

    MOVED, ASK, TRYAGAIN and CLUSTERDOWN mean that the command did not run. It is sent again, to
    where it belongs and after growing pauses; if it is refused to the end, its outcome is a
    ConnectionError, as of a server that is away.
    """

    one_slot = True

    def __init__(
        self, seeds: Iterable[NodeAddress], connect: Callable[[NodeAddress], Client]
    ) -> None:
        self._seeds = tuple(seeds)
        self._connect = connect
        self._clients: dict[NodeAddress, Client] = {}
        #: Slot -> its primary.
        self._owners: list[NodeAddress | None] = [None] * SLOTS
        self._nodes: tuple[NodeAddress, ...] = ()
        #: Nodes that were lost when they were last spoken to.
        self._lost: set[NodeAddress] = set()
        self._stale = True
        self._closed = False
        self._refreshing = asyncio.Lock()
        self._views = 0

    def places(self) -> list[NodeAddress]:
        """Where a node may answer: those known in random order, those of the URL, those lost."""
        known = random.sample(self._nodes, len(self._nodes))
        places = [*known, *(seed for seed in self._seeds if seed not in known)]
        return sorted(places, key=lambda place: place in self._lost)

    def node_of(self, key: str) -> Hashable:
        return self._owner(key)

    def client_for(self, key: str) -> Client:
        return self._client(self._owner(key))

    def own_client_for(self, key: str) -> Client:
        return self._connect(self._owner(key))

    async def primaries(self) -> list[Client]:
        if self._stale:
            await self.refresh()
        return [self._client(place) for place in sorted({each for each in self._owners if each})]

    async def refresh(self) -> None:
        before = self._views
        async with self._refreshing:
            if self._views != before:
                return  # Somebody else has asked meanwhile.
            await self._look()
            self._views += 1
            self._stale = False

    async def settled(self) -> None:
        for client in list(self._clients.values()):
            await client.settled()

    def let_go(self) -> None:
        """Close the connections to all nodes when the event loop does not run any more."""
        for client in self._clients.values():
            client.let_go()

    async def close(self) -> None:
        """Close the clients of all nodes, even when it is cancelled meanwhile."""
        clients, self._clients = list(self._clients.values()), {}
        self._stale = self._closed = True
        await close_all(clients)

    async def send(
        self,
        commands: Sequence[Command],
        sources: Sources | None = None,
        confirmation: AckRequirement | None = None,
    ) -> list[Any]:
        outcomes: list[Any] = [None] * len(commands)
        #: Number of each command that is still to be sent -> where it was told to ask.
        left: dict[int, NodeAddress | None] = dict.fromkeys(range(len(commands)))

        async def to_node(place: NodeAddress | None, asking: bool, numbers: list[int]) -> None:
            words = [commands[i][1] for i in numbers]
            if place is None:
                replies: list[Any] = [ClusterDownError("no node has the slot")] * len(numbers)
            else:
                client = self._client(place)
                replies = await carry_out(client, words, sources or {}, asking, confirmation)
            for i, reply in zip(numbers, map(named, replies), strict=True):
                outcomes[i] = reply
                self._learn(place, reply)
                if not isinstance(reply, _REFUSALS):
                    del left[i]
                else:
                    left[i] = _place(reply, place) if isinstance(reply, AskError) else None

        for pause in (None, *PAUSES):
            if pause is not None:
                await asyncio.sleep(pause)
            failure = await self._refreshed()
            if failure is not None:
                for i in left:
                    outcomes[i] = failure
                return outcomes
            batches = self._batches(commands, left).items()
            await asyncio.gather(*(to_node(*where, numbers) for where, numbers in batches))
            if not left:
                return outcomes
        for i in left:
            refusal = outcomes[i]
            outcomes[i] = ConnectionError(f"the cluster refused it to the end: {refusal}")
            outcomes[i].__cause__ = refusal
        return outcomes

    async def _refreshed(self) -> Exception | None:
        """Have a view that is not known to be wrong, or say why there is none."""
        try:
            if self._stale:
                await self.refresh()
        except (RedisError, OSError) as error:
            return error
        return None

    def _batches(
        self, commands: Sequence[Command], left: dict[int, NodeAddress | None]
    ) -> dict[tuple[NodeAddress | None, bool], list[int]]:
        """Which commands go to which node, and whether they must ask it."""
        batches: defaultdict[tuple[NodeAddress | None, bool], list[int]] = defaultdict(list)
        for i, asked in left.items():
            place = asked or self._owners[_slot(commands[i][0])]
            batches[place, asked is not None].append(i)
        return batches

    def _learn(self, place: NodeAddress | None, reply: Any) -> None:
        """Correct the view by what a node answered."""
        if isinstance(reply, MovedError):
            self._owners[reply.slot_id] = _place(reply, place)
        if isinstance(reply, (MovedError, ClusterDownError, *_LOST)):
            self._stale = True
        if place is not None:
            (self._lost.add if isinstance(reply, _LOST) else self._lost.discard)(place)

    async def _look(self) -> None:
        """Ask one node after another for its view, and believe the first that is well itself."""
        failure: Exception = ConnectionError("the URL names no node")
        view: list[Any] | None = None
        for place in self.places():
            questions = (("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))
            info, slots = map(named, await exchange(self._client(place), questions))
            self._learn(place, slots)
            if isinstance(slots, AuthenticationError):
                raise slots
            if isinstance(slots, Exception):
                failure = slots
                continue
            view = [(place, each) for each in slots]
            if isinstance(info, Exception) or fields(info).get("cluster_state") == "ok":
                break
        if view is None:
            raise failure
        self._believe(view)

    def _believe(self, view: list[Any]) -> None:
        owners: list[NodeAddress | None] = [None] * SLOTS
        nodes: dict[NodeAddress, None] = {}
        for asked, (first, last, *members) in view:
            found = [_named(_text(each[0]), int(each[1]), asked) for each in members]
            nodes.update(dict.fromkeys(found))
            owners[first : last + 1] = [found[0]] * (last + 1 - first)
        self._owners, self._nodes = owners, tuple(nodes)

    def _owner(self, key: str) -> NodeAddress:
        place = self._owners[_slot(key)]
        if place is None:
            raise ClusterDownError(f"no node of the cluster has the slot of {key}")
        return place

    def _client(self, place: NodeAddress) -> Client:
        if place not in self._clients:
            self._clients[place] = client = self._connect(place)
            if self._closed:  # A call that was under way goes on.
                client.close_lines()
        return self._clients[place]


def named(reply: Any) -> Any:
    """The reply, and if it is a refusal of a cluster node an error of that class: redis-py 5 gives
    these classes to its own cluster client only."""
    if type(reply) is not ResponseError:
        return reply
    word, _, details = str(reply).partition(" ")
    return _WORDS[word](details) if word in _WORDS else reply


def _place(redirect: AskError, asked: NodeAddress | None) -> NodeAddress:
    return _named(redirect.host, redirect.port, asked)


def _named(host: str, port: int, asked: NodeAddress | None) -> NodeAddress:
    """Where a node is. Who has no name for it says only the port: then the host is the same."""
    return (asked[0] if asked and host in ("", "?") else host), port


def _slot(key: str | bytes) -> int:
    return key_slot(key if isinstance(key, bytes) else key.encode())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def fields(info: bytes) -> dict[str, str]:
    """The reply of CLUSTER INFO."""
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
