"""Senders are refused, because a processor that nobody runs has not finished the oldest events."""

from __future__ import annotations

from tests.incidents.incident import Incident
from tests.incidents.scene import Scene


class FullPartition(Incident):
    """The last release no longer has the processor of the statistics, but it is registered."""

    name = "full-partition"

    def scene(self) -> Scene:
        return Scene("statistics")

    def words(self) -> list[str]:
        return ["the last release, of yesterday noon, gave up the statistics of the shop"]

    def begin(self, scene: Scene) -> None:
        added = scene.workers.run("processor", "add", "shop:statistics")
        assert added.returncode == 0, added.stderr
        scene.release("small")
        self.settle(scene)
        scene.open_website(visits=0.001)
        log = scene.folder / "website.log"
        scene.until(lambda: log.exists() and "is full" in log.read_text(), "orders are refused")
        scene.open_website(self.pace)
