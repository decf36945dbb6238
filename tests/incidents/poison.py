"""One event that no handler can process stops its partition."""

from __future__ import annotations

import json

from tests.incidents.incident import Incident
from tests.incidents.scene import Scene


class Poison(Incident):
    """A refund, which billing does not know, comes in among the orders."""

    name = "poison-event"

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        refund = {"number": 900_001, "customer": "cleo", "article": "lamp", "cents": -1900}
        scene.send(json.dumps(refund))
        scene.until(
            lambda: scene.report()["totals"]["quarantined"] == 1, "a partition is quarantined"
        )
