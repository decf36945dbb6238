"""Knows where keys live: on one server, on the primary that sentinels name, or in a cluster.

`of(client)` returns the `Deployment` behind any client that `runnel.connection.connect.connect`
made::

    client = connect(url)
    deployment = of(client)
    await deployment.refresh()              # once, before the first node_of or client_for
    deployment.node_of(key)                 # hashable: keys with equal nodes share a primary
    deployment.client_for(key)              # a Client of that primary, for any command
    await deployment.send([(key, ("HLEN", key)), …])   # one pipeline a node, a raw reply each

Plain commands with one key, and those that any node can answer (PING, TIME, PUBLISH, pub/sub), may
be sent through the client itself on every deployment. For blocking reads make a client of your own,
with a `socket_timeout` that is longer than the block: `of(connect(url, 8)).client_for(key)`. One
command can read only keys of one slot, even if one node has the slots of all of them.

When a node answers MOVED to a command sent through `client_for`, or its connection is lost, await
`refresh()` and ask again where the key lives: `node_of` may return another node then. `send` does
so by itself. On one server and behind Sentinel there is one node, and each new connection asks the
sentinels again, so after a failover the lost connection is reported once and the next call works.
"""

from __future__ import annotations

from collections.abc import Coroutine, Hashable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, NoScriptError, RedisError

from runnel.connection.durability import AckRequirement
from runnel.connection.redis_client import Arg, Client

#: A key that decides where the command is sent, and the command.
Command = tuple[str | bytes, Sequence[Arg]]
#: SHA-1 of a script -> its source.
Sources = Mapping[Arg, bytes]

#: How often scripts are loaded for one call: a SCRIPT FLUSH may come between the load and the call.
MOST_LOADS = 5


class Deployment:
    """One server, or the primary that sentinels name."""

    #: Must all keys of one command be in one slot?
    one_slot = False

    def __init__(self, client: Client) -> None:
        self.client = client

    def node_of(self, key: str) -> Hashable:
        """The primary that has the key: equal for two keys if one primary has both."""
        return None

    def client_for(self, key: str) -> Client:
        """A client of the primary that has the key, with the timeouts of this one."""
        return self.client

    def own_client_for(self, key: str) -> Client:
        """Like `client_for`, but one that nobody else uses. The caller must close it."""
        raise NotImplementedError("for one server, use `connect`")

    async def primaries(self) -> list[Client]:
        """A client of every primary."""
        return [self.client]

    async def refresh(self) -> None:
        """Fetch again which node has which keys. Raises redis-py's errors if no node answers."""

    async def wait_for_orphans(self) -> None:
        """Wait until each request whose caller was cancelled is answered or lost."""
        await self.client.wait_for_orphans()

    def send(
        self,
        commands: Sequence[Command],
        sources: Sources | None = None,
        ack: AckRequirement | None = None,
    ) -> Coroutine[Any, Any, list[Any]]:
        """Send the commands, those of one node in one round trip. Each outcome is a raw reply or an
        exception.

        If a connection is lost, that is the outcome of every command that was sent on it: they may
        have been carried out. A script that a node does not know is loaded from `sources`. If
        `ack` is not met, its error is the outcome of commands that were carried out.
        """
        return carry_out(self.client, commands, sources or {}, ack=ack)

    async def ask(
        self, commands: Sequence[Command], ack: AckRequirement | None = None
    ) -> list[Any]:
        """The raw replies to commands that only read, or that are safe to repeat. Raises the first
        error. If a connection is lost, all are sent once more: it may have been idle for long."""
        replies = await self.send(commands, ack=ack)
        if any(isinstance(each, ConnectionError) for each in replies):
            replies = await self.send(commands, ack=ack)
        for each in replies:
            if isinstance(each, Exception):
                raise each
        return replies


def of(client: Redis) -> Deployment:
    """The deployment behind a client that `runnel.connection.connect.connect` made."""
    assert isinstance(client, Client)
    return client.deployment if isinstance(client, ManyServers) else Deployment(client)


class ManyServers(Client):
    """A client of several servers. Its `deployment` knows which keys each of them has."""

    deployment: Deployment


async def carry_out(
    client: Client,
    commands: Sequence[Command],
    sources: Sources,
    asking: bool = False,
    ack: AckRequirement | None = None,
) -> list[Any]:
    """The outcomes of commands on one server, which is sent the scripts that it lacks.

    `asking` sends ASKING before each command, for a cluster node that is about to take over a slot.
    """
    words = [words for _, words in commands]
    # Any key of the server will do: they all share its replication and its disk.
    ack_commands = ack.commands(str(commands[0][0])) if ack else []
    replies = await exchange(client, [*words, *ack_commands] if ack_commands else words, asking)
    outcomes, answers = replies[: len(words)], [replies[len(words) :]]
    for _ in range(MOST_LOADS):
        # The word behind EVALSHA is the script's SHA-1.
        unknown = [
            i
            for i, each in enumerate(outcomes)
            if isinstance(each, NoScriptError) and words[i][1] in sources
        ]
        if not unknown:
            break
        loads = [("SCRIPT", "LOAD", sources[sha]) for sha in {words[i][1] for i in unknown}]
        sent = [*loads, *(words[i] for i in unknown), *ack_commands]
        again = await exchange(client, sent, asking)
        if ack_commands:
            answers.append(again[-len(ack_commands) :])
            again = again[: -len(ack_commands)]
        refusal = next((each for each in again[: len(loads)] if isinstance(each, Exception)), None)
        for i, outcome in zip(unknown, again[len(loads) :], strict=True):
            outcomes[i] = outcome if refusal is None else refusal
    if ack is None:
        return outcomes
    problem = next((found for each in answers if (found := ack.problem(each))), None)
    if problem is None:
        return outcomes
    return [each if isinstance(each, Exception) else problem for each in outcomes]


async def exchange(
    client: Client, commands: Sequence[Sequence[Arg]], asking: bool = False
) -> list[Any]:
    """The replies of one server. If its connection is lost, each reply is that error."""
    sent = [each for words in commands for each in (("ASKING",), words)] if asking else commands
    try:
        replies = await client.roundtrip(sent)
    except (RedisError, OSError) as error:
        return [error] * len(commands)
    return replies[1::2] if asking else replies
