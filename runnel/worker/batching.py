"""Calls that are made at the same time go out together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

from redis.exceptions import RedisError

from runnel.protocol.scripts import Call

#: Calls of one round trip at the most, so that Redis serves others in between.
ROUND = 100

_Waiting = tuple[Call, asyncio.Future[Any]]


class CallBatching:
    """Makes calls in one round trip after another to each node: whoever comes while one is under
    way goes with the next. A thousand partitions are claimed in ten round trips that way, and over
    one connection.

    `call_all` makes several calls, and `node_of` says where the log of one is.
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
            self._rounds[node] = asyncio.create_task(self._make(node))
        return await reply

    async def _make(self, node: Hashable) -> None:
        try:
            while waiting := self._waiting.pop(node, None):
                for at in range(0, len(waiting), ROUND):
                    await self._round(waiting[at : at + ROUND])
        finally:
            del self._rounds[node]

    async def _round(self, waiting: Sequence[_Waiting]) -> None:
        asked = [each for each in waiting if not each[1].done()]
        outcomes: Sequence[Any]
        try:
            outcomes = await self._call_all([call for call, _ in asked])
        except (RedisError, OSError) as error:
            outcomes = [error] * len(asked)
        for (_, reply), outcome in zip(asked, outcomes, strict=True):
            if reply.done():
                continue  # Whoever asked was cancelled.
            if isinstance(outcome, Exception):
                reply.set_exception(outcome)
            else:
                reply.set_result(outcome)
