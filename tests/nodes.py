"""What tests ask of single servers of a group, and how a group forms: processes or containers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError

SLOTS = 16384
#: The name under which sentinels know their primary.
PRIMARY_NAME = "mymaster"
_TIMEOUT = 60.0
_POLL = 0.02


class Node(Protocol):
    """A server, as a process or in a container."""

    def client(self) -> Redis:
        """A synchronous client; the caller closes it."""
        ...

    def log(self) -> str:
        """The log so far."""
        ...


N = TypeVar("N", bound=Node)


def ask(server: Node, command: str, *args: object) -> Any:
    """The unparsed reply to a command; bytes are decoded."""
    with server.client() as client:
        client.response_callbacks.clear()
        reply: Any = client.execute_command(command, *args)
    return reply.decode() if isinstance(reply, bytes) else reply


def form_cluster(masters: Sequence[N], replicas: Sequence[N], meet: Callable[[N], None]) -> None:
    """Make a cluster of new nodes. `meet` introduces a node to the first master."""
    nodes = [*masters, *replicas]
    for number, master in enumerate(masters):
        ask(master, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        first, end = SLOTS * number // len(masters), SLOTS * (number + 1) // len(masters)
        ask(master, "CLUSTER ADDSLOTSRANGE", first, end - 1)
    for node in nodes[1:]:
        meet(node)
    for master, replica in zip(masters, replicas, strict=False):
        until(replica, lambda node: len(_nodes(node)) == len(nodes))
        ask(replica, "CLUSTER REPLICATE", node_id(master))
    for node in nodes:
        until(node, lambda node: _sees_all(node, len(nodes), len(replicas)))
    for replica in replicas:
        until(replica, is_linked)


def _sees_all(node: Node, nodes: int, replicas: int) -> bool:
    nodes_seen = [line.split() for line in _nodes(node)]
    return (
        "cluster_state:ok" in ask(node, "CLUSTER INFO")
        and len(nodes_seen) == nodes
        and sum("slave" in words[2] for words in nodes_seen) == replicas
        and not any("handshake" in words[2] for words in nodes_seen)
    )


def acquaint(sentinels: Sequence[Node], replicas: int) -> None:
    """Wait until the sentinels know each other and so many replicas of their primary."""
    # By default they send INFO every 10 seconds and PUBLISH every 2. These periods also limit how
    # old their knowledge may be: if they are too short, a failover fails.
    _set_periods(sentinels, 100)
    for sentinel in sentinels:
        until(sentinel, lambda each: knows_all(each, replicas, len(sentinels)))
    _set_periods(sentinels, 500)


def _set_periods(sentinels: Sequence[Node], period: int) -> None:
    # By default they ping and reconnect once a second: a single failed attempt would take half of
    # the time after which a server counts as failed.
    periods = ("INFO-PERIOD", period, "PUBLISH-PERIOD", period, "PING-PERIOD", 200)
    command = ("SENTINEL DEBUG", *periods)
    for sentinel in sentinels:
        until(sentinel, lambda each: ask(each, *command))


def knows_all(sentinel: Node, replicas: int, sentinels: int) -> bool:
    """Does a sentinel see a primary that is well, and so many replicas and sentinels in all?"""
    state = state_of(sentinel)
    return (
        state[b"flags"] == b"master"
        and int(state[b"num-slaves"]) == replicas
        and int(state[b"num-other-sentinels"]) == sentinels - 1
    )


def state_of(sentinel: Node) -> dict[bytes, bytes]:
    """The state of the primary according to a sentinel."""
    values = ask(sentinel, "SENTINEL MASTER", PRIMARY_NAME)
    return dict(zip(values[::2], values[1::2], strict=True))


def catches_up(replica: Node, primary: Node) -> None:
    """Wait until a replica has all writes that its primary has now."""
    offset = _offset(primary, "master_repl_offset")
    until(replica, lambda each: _offset(each, "slave_repl_offset") >= offset)


def _offset(server: Node, field: str) -> int:
    value = ask(server, "INFO", "replication").partition(f"{field}:")[2].split()
    return int(value[0]) if value else -1  # It is not a replica now.


def node_id(server: Node) -> str:
    """The id of a cluster node."""
    return str(ask(server, "CLUSTER MYID"))


def until(server: N, condition: Callable[[N], Any]) -> None:
    """Wait until a condition holds for a server."""
    deadline = time.monotonic() + _TIMEOUT
    while not _condition_holds(condition, server):
        assert time.monotonic() < deadline, (
            f"the condition does not hold on {server!r}:\n{server.log()}"
        )
        time.sleep(_POLL)


def _condition_holds(condition: Callable[[N], Any], server: N) -> bool:
    # A server that changes its role closes connections.
    with contextlib.suppress(ConnectionError, TimeoutError):
        return bool(condition(server))
    return False


def _nodes(server: Node) -> list[str]:
    return str(ask(server, "CLUSTER NODES")).splitlines()


def is_linked(replica: Node) -> bool:
    """Whether a replica follows its primary."""
    return "master_link_status:up" in ask(replica, "INFO", "replication")
