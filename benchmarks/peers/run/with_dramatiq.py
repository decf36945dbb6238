"""dramatiq with its Redis broker: one process with eight threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import dramatiq
from common import URL, Peer, Values, main
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)
hooks: list[Callable[..., None]] = []


@dramatiq.actor
def handle(order_id: int, created_at: str, amount: int, sent: float | None = None) -> None:
    hooks[0](sent)


class Dramatiq(Peer):
    async def send(self, record: Values) -> None:
        handle.send(**record)

    async def send_many(self, records: list[Values]) -> None:
        """It has no call for many."""
        for record in records:
            handle.send(**record)

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        hooks.append(handled)
        dramatiq.Worker(broker, worker_threads=8).start()
        threading.Event().wait()


if __name__ == "__main__":
    main(Dramatiq())
