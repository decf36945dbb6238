"""A stream that nobody reads fills, and what emits to it waits."""

from __future__ import annotations

from tests.incidents.incident import Incident
from tests.incidents.scene import Json, Scene


class UnreadStream(Incident):
    """Since the receipts are there, the workers were only ever started for billing."""

    name = "unread-stream"
    worker_options = ("--processors", "billing")

    def scene(self) -> Scene:
        return Scene("receipts")

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        scene.open_website(visits=0.001)
        scene.until(
            lambda: any(
                row["waits_for"]
                for each in scene.report()["processors"]
                for row in each["partitions"]
            ),
            "a partition waits for room",
        )
        scene.open_website(self.pace)

    def more(self, scene: Scene, report: Json) -> list[str]:
        missing = scene.billed - scene.numbers("posted.csv")
        return [f"{len(missing)} receipts are not posted"] if missing else []
