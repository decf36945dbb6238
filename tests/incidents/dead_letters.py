"""Dead letters fill their stream, since nobody reads them: then the partitions wait."""

from __future__ import annotations

import json

from tests.incidents.incident import Incident
from tests.incidents.scene import Json, Scene

CATALOGUE = {"lamp": 19, "chair": 49}


class DeadLetters(Incident):
    """A new article is missing in the catalogue. Once it is there, the letters can be replayed."""

    name = "dead-letters"

    def scene(self) -> Scene:
        scene = Scene("catalogue")
        (scene.folder / "catalogue.json").write_text(json.dumps(CATALOGUE))
        return scene

    def words(self) -> list[str]:
        return ["the price of a vase, should you need it, is 29"]

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        scene.open_website(visits=0.001)
        scene.until(lambda: _waits(scene.report()), "a partition waits for room")
        scene.open_website(self.pace)


def _waits(report: Json) -> bool:
    return any(row["waits_for"] for each in report["processors"] for row in each["partitions"])
