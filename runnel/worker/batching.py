"""Sends calls that are made at the same time in one round trip."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

from redis.exceptions import RedisError

from runnel.protocol.scripts import Call

#: The most calls of one round trip, so that Redis serves other clients in between.
CALLS_PER_ROUND = 100

_Waiting = tuple[Call, asyncio.Future[Any]]


class CallBatching:
    """Has one round trip at a time with each node: a call that is made meanwhile is sent with the
    next one. In this way a thousand partitions are claimed in ten round trips, over one connection.

    `call_all` makes several calls; `node_of` returns the node of a log.
    """

    def __init__(
        self,
        call_all: Callable[[Sequence[Call]], Awaitable[list[Any]]],
        node_of: Callable[[str], Hashable],
    ) -> None:
        self._call_all = call_all
        self._node_of = node_of
        self._waiting: defaultdict[Hashable, list[_Waiting]] = defaultdict(list)
        self._rounds: dict[Hashable, asyncio.Task[None]] = {}

    async def call(self, call: Call) -> Any:
        """One call's reply. Raises ProtocolError, redis-py's errors or OSError."""
        node = self._node_of(call.keys[0])
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[node].append((call, reply))
        if node not in self._rounds:
            self._rounds[node] = asyncio.create_task(self._run(node))
        return await reply

    async def _run(self, node: Hashable) -> None:
        try:
            while waiting := self._waiting.pop(node, None):
                for at in range(0, len(waiting), CALLS_PER_ROUND):
                    await self._round(waiting[at : at + CALLS_PER_ROUND])
        finally:
            del self._rounds[node]

    async def _round(self, waiting: Sequence[_Waiting]) -> None:
        sent = [each for each in waiting if not each[1].done()]
        outcomes: Sequence[Any]
        try:
            outcomes = await self._call_all([call for call, _ in sent])
        except (RedisError, OSError) as error:
            outcomes = [error] * len(sent)
        for (_, reply), outcome in zip(sent, outcomes, strict=True):
            if reply.done():
                continue  # The caller was cancelled.
            if isinstance(outcome, Exception):
                reply.set_exception(outcome)
            else:
                reply.set_result(outcome)
