"""`ObservedProducer`: sends of which observers are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel.connection.durability import Durability
from runnel.delayed import Delayed, Due
from runnel.observer import Observer, sending
from runnel.producer.producer import Producer
from runnel.protocol.scripts import Scripts
from runnel.stream import Sent, StreamSpec


class ObservedProducer(Producer):
    """Tells observers of each send, and adds their headers."""

    def __init__(
        self,
        scripts: Scripts,
        delivery_timeout: float,
        durability: Durability,
        observers: Sequence[Observer],
    ) -> None:
        super().__init__(scripts, delivery_timeout, durability)
        self._observers = observers

    async def send(
        self,
        stream: StreamSpec[Any],
        records: Sequence[Any],
        *,
        headers: Any = None,
        **options: Any,
    ) -> list[Sent]:
        count = len(records)
        with sending(self._observers, stream.app, stream.name, count, headers) as send:
            sent = await super().send(stream, records, headers=send.headers, **options)
            send.sent = sent
        return sent

    async def send_once(
        self,
        stream: StreamSpec[Any],
        records: Sequence[Any],
        dedupe: object,
        window: float,
        *,
        headers: Any = None,
        **options: Any,
    ) -> list[Sent]:
        count = len(records)
        with sending(self._observers, stream.app, stream.name, count, headers) as send:
            sent = await super().send_once(
                stream, records, dedupe, window, headers=send.headers, **options
            )
            send.sent = sent
        return sent

    async def send_later(
        self, stream: StreamSpec[Any], records: Sequence[Any], due: Due, **options: Any
    ) -> list[Delayed]:
        count, headers = len(records), options.pop("headers", None)
        with sending(self._observers, stream.app, stream.name, count, headers) as send:
            sent = await super().send_later(stream, records, due, headers=send.headers, **options)
            send.sent = sent
        return sent


def producer_of(
    scripts: Scripts, delivery_timeout: float, durability: Durability, observers: Sequence[Observer]
) -> Producer:
    """A producer; observers are told of its sends, if there are any."""
    if observers:
        return ObservedProducer(scripts, delivery_timeout, durability, observers)
    return Producer(scripts, delivery_timeout, durability)
