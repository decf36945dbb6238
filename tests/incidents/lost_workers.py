"""Workers die, and nobody starts them again."""

from __future__ import annotations

from tests.incidents.incident import Incident
from tests.incidents.scene import Scene


class LostWorkers(Incident):
    """The machine of the workers has lost its power."""

    name = "lost-worker"

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        for process in scene.workers.processes:
            process.kill()
            process.wait()
        scene.until(lambda: scene.report()["totals"]["members"] == 0, "their sessions end")
