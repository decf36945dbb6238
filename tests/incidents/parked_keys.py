"""What a customer has ordered cannot be billed, and is parked."""

from __future__ import annotations

import json

from tests.incidents.incident import Incident
from tests.incidents.scene import Scene

RATES = {"EUR": 1.0, "USD": 0.9}


class ParkedKeys(Incident):
    """The file with the rates lacks one. Once it is there, the events can be replayed."""

    name = "parked-keys"

    def scene(self) -> Scene:
        scene = Scene("currencies")
        (scene.folder / "rates.json").write_text(json.dumps(RATES))
        return scene

    def words(self) -> list[str]:
        return ["the rate of CHF, should you need it, is 1.1"]

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        scene.until(lambda: scene.report()["totals"]["parked"] > 2, "events are parked")
