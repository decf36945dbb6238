"""A release that does not fit to what Redis holds."""

from __future__ import annotations

from tests.incidents.incident import Incident
from tests.incidents.scene import Scene


class WrongDeploy(Incident):
    """Release 42 has twice the partitions. Its workers do not start; those of 41 have ended."""

    name = "wrong-deploy"

    def words(self) -> list[str]:
        return [
            "release 42 was deployed ten minutes ago, by a copy of releases/42/shop.py to shop.py",
            "the release before was 41",
        ]

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        former = (scene.folder / "shop.py").read_text()
        text = former.replace("partition_count=4", "partition_count=8")
        for number, each in ((41, former), (42, text)):
            folder = scene.folder / "releases" / str(number)
            folder.mkdir(parents=True)
            (folder / "shop.py").write_text(each)
        (scene.folder / "shop.py").write_text(text)
        for process in scene.workers.processes:
            process.terminate()
            process.wait()
        scene.workers.start().wait()
        scene.until(lambda: scene.report()["totals"]["lag_events"], "orders wait")
