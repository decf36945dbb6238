"""Somebody removes events that were not processed yet."""

from __future__ import annotations

from redis import Redis

from tests.incidents.incident import SETTLED, Incident
from tests.incidents.scene import Json, Scene


class Trimmed(Incident):
    """While the workers were down, a script that saves memory has trimmed the logs."""

    name = "loss-by-trimming"

    def words(self) -> list[str]:
        return [
            "between two releases the workers were down for a minute",
            "`python again.py` compares the website's orders with the ledger, and sends again "
            "what is missing",
        ]

    def begin(self, scene: Scene) -> None:
        scene.add("again")
        self.settle(scene)
        for process in scene.workers.processes:
            process.terminate()
            process.wait()
        scene.open_website(visits=0.01)
        before = len(scene.accepted)
        scene.until(lambda: len(scene.accepted) > before + 5 * SETTLED, "orders come in")
        scene.open_website(self.pace)
        with scene.redis() as redis:
            _trim(redis)
        for _ in range(2):
            scene.workers.start()
        scene.until(lambda: _lost(scene.report()), "workers find out that events are gone")


def _trim(redis: Redis) -> None:
    for key in redis.scan_iter("runnel:{shop:orders:*}:orders:log"):
        redis.xtrim(key, maxlen=2, approximate=False)


def _lost(report: Json) -> int:
    return sum(row["lost"] for each in report["processors"] for row in each["partitions"])
