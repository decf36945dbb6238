"""`ObservedScripts`: calls of scripts of which observers are told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from runnel.connection.durability import AckRequirement
from runnel.observer import Observer, tell
from runnel.protocol.scripts import Call, Scripts


class ObservedScripts(Scripts):
    """Tells observers of each call: the script, the seconds of its round trip, and its outcome."""

    def __init__(self, client: Redis, observers: Sequence[Observer]) -> None:
        super().__init__(client)
        self._observers = observers
        #: Nobody may make a round trip that is not seen here.
        self.roundtrip = None

    async def call_all(self, calls: Sequence[Call], ack: AckRequirement | None = None) -> list[Any]:
        began = time.perf_counter()
        try:
            outcomes = await super().call_all(calls, ack)
        except Exception as error:
            self._tell(calls, began, [error] * len(calls))
            raise
        self._tell(calls, began, outcomes)
        return outcomes

    def _tell(self, calls: Sequence[Call], began: float, outcomes: Sequence[object]) -> None:
        seconds, names = time.perf_counter() - began, [each.script for each in calls]
        for each in self._observers:
            tell(each.called, names, seconds, outcomes)


def scripts_of(client: Redis, observers: Sequence[Observer]) -> Scripts:
    """The scripts of a client; observers are told of their calls, if there are any."""
    return ObservedScripts(client, observers) if observers else Scripts(client)
