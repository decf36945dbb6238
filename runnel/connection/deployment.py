"""Where keys live: on one server, on the primary that sentinels name, or spread over a cluster.

`of(client)` gives the `Deployment` behind any client that `runnel.connection.connect.connect`
made::

    client = connect(url)
    deployment = of(client)
    await deployment.refresh()              # once, before the first node_of or client_for
    deployment.node_of(key)                 # hashable: keys with equal nodes share a primary
    deployment.client_for(key)              # a Client of that primary, for all it can do
    await deployment.send([(key, ("HLEN", key)), …])   # one pipeline a node, a raw reply each

Plain commands with one key, and those that any node can answer (PING, TIME, PUBLISH, pub/sub), may
be sent through the client itself on every deployment. For blocking reads make a client of your own,
with a `socket_timeout` that is longer than the block: `of(connect(url, 8)).client_for(key)`. One
command can read only keys of one slot, even where one node holds many.

When a node answers MOVED to a command sent through `client_for`, or is lost, await `refresh()` and
ask again where the key lives: `node_of` may then be another. `send` does so by itself. On one
server and behind Sentinel all of this is trivial: there is one node, and a new connection asks the
sentinels anew, so after a failover the lost connection is reported once and the next call works.
"""

from __future__ import annotations

from collections.abc import Coroutine, Hashable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from runnel.connection.durability import AckRequirement
from runnel.connection.redis_client import Arg, Client

#: A key that the command touches, which says where it is sent, and the command.
Command = tuple[str | bytes, Sequence[Arg]]
#: SHA-1 of a script -> its source.
Sources = Mapping[Arg, bytes]


class Deployment:
    """One server, or the primary that sentinels name."""

    #: Must all keys of one command be in one slot?
    one_slot = False

    def __init__(self, client: Client) -> None:
        self.client = client

    def node_of(self, key: str) -> Hashable:
        """Which primary has the key: equal for two keys if one primary has both."""
        return None

    def client_for(self, key: str) -> Client:
        """A client of the primary that has the key, with the timeouts of this one."""
        return self.client

    def own_client_for(self, key: str) -> Client:
        """Like `client_for`, but one that nobody else uses, to be closed by the caller."""
        raise NotImplementedError("one server is asked by `connect`")

    async def primaries(self) -> list[Client]:
        """A client of every primary."""
        return [self.client]

    async def refresh(self) -> None:
        """Learn anew which node has which keys. Raises redis-py's errors if nobody can say."""

    async def settled(self) -> None:
        """Wait until what was asked by callers who were cancelled has been answered or lost."""
        await self.client.settled()

    def send(
        self,
        commands: Sequence[Command],
        sources: Sources | None = None,
        confirmation: AckRequirement | None = None,
    ) -> Coroutine[Any, Any, list[Any]]:
        """Send the commands, those of a node in one round trip. For each, its raw reply or an
        exception.

        A lost connection is the outcome of every command that was under way on it: they may have
        been carried out. Where a node does not know a script, it is loaded from `sources`. What was
        carried out and does not get its `confirmation` has that as its outcome.
        """
        words = [words for _, words in commands]
        return carry_out(self.client, words, sources or {}, confirmation=confirmation)


def of(client: Redis) -> Deployment:
    """The deployment behind a client, which `runnel.connection.connect.connect` made."""
    assert isinstance(client, Client)
    return client.deployment if isinstance(client, ManyServers) else Deployment(client)


class ManyServers(Client):
    """A client of several servers, of which its `deployment` knows what is where."""

    deployment: Deployment


async def carry_out(
    client: Client,
    commands: Sequence[Sequence[Arg]],
    sources: Sources,
    asking: bool = False,
    confirmation: AckRequirement | None = None,
) -> list[Any]:
    """What one server says to each command, after it was taught the scripts that it lacked.

    `asking` goes before each to a cluster node that is about to take over its slot.
    """
    # The first key of a script, which all that need a confirmation are, is its log.
    question = confirmation.question(str(commands[0][3])) if confirmation else []
    replies = await exchange(client, [*commands, *question] if question else commands, asking)
    unknown = [i for i, each in enumerate(replies) if isinstance(each, NoScriptError)]
    if not unknown and not question:
        return replies
    outcomes, answers = replies[: len(commands)], [replies[len(commands) :]]
    names = {name for i in unknown if (name := commands[i][1]) in sources}
    if names:
        loads = [("SCRIPT", "LOAD", sources[name]) for name in names]
        sent = [*loads, *(commands[i] for i in unknown), *question]
        again = await exchange(client, sent, asking)
        if question:
            answers.append(again[-len(question) :])
            again = again[: -len(question)]
        refusal = next((each for each in again[: len(loads)] if isinstance(each, Exception)), None)
        for i, outcome in zip(unknown, again[len(loads) :], strict=True):
            outcomes[i] = outcome if refusal is None else refusal
    if confirmation is None:
        return outcomes
    problem = next((found for each in answers if (found := confirmation.problem(each))), None)
    if problem is None:
        return outcomes
    return [each if isinstance(each, Exception) else problem for each in outcomes]


async def exchange(
    client: Client, commands: Sequence[Sequence[Arg]], asking: bool = False
) -> list[Any]:
    """What one server says to each command; if it is lost, that is what it says to all."""
    sent = [each for words in commands for each in (("ASKING",), words)] if asking else commands
    try:
        replies = await client.roundtrip(sent)
    except (RedisError, OSError) as error:
        return [error] * len(commands)
    return replies[1::2] if asking else replies
