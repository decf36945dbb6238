"""What all incidents have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from redis.exceptions import RedisError

from runnel.errors import RunnelError
from tests.incidents.scene import Scene

Json = dict[str, Any]

#: Orders that a shop has billed before something happens to it.
SETTLED = 20


class Incident(ABC):
    """Something that goes wrong in a shop: `begin` brings it about, `complaints` judges its end."""

    name: ClassVar[str]
    #: What followed `runnel worker shop:app` when its workers were started.
    worker_options: ClassVar[Sequence[str]] = ()
    #: Seconds between two orders.
    pace = 0.1

    def scene(self) -> Scene:
        """Where it takes place."""
        return Scene()

    @abstractmethod
    def begin(self, scene: Scene) -> None:
        """Bring it about, and return when `runnel inspect` can show it."""

    def settle(self, scene: Scene) -> None:
        """Start two workers and the website, and wait until all goes well."""
        for _ in range(2):
            scene.workers.start(*self.worker_options)
        scene.open_website(self.pace)
        scene.until(lambda: len(scene.billed) >= SETTLED, "the shop bills orders")

    def words(self) -> list[str]:
        """What an operator knows besides the directory, the URL and the workers."""
        return []

    def given_up(self, scene: Scene) -> set[int]:
        """The numbers of orders that an operator may give up."""
        return set()

    def complaints(self, scene: Scene, seconds: float = 20.0) -> list[str]:
        """Why it is not over, empty if it is. The last orders have so many seconds to be billed."""
        scene.close_website()
        deadline = time.monotonic() + seconds
        while found := self._complaints_now(scene):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return found

    def _complaints_now(self, scene: Scene) -> list[str]:
        try:
            report = scene.report()
        except (RunnelError, RedisError, OSError) as error:
            return [f"Redis: {error}"]
        found = [
            f"{each['name']} is {each['state']}, with {each['lag_events']} events to do"
            for each in report["processors"]
            if each["state"] != "ok" or each["lag_events"] != 0
        ]
        if missing := scene.accepted - scene.billed - self.given_up(scene):
            found.append(f"{len(missing)} accepted orders are not billed: {sorted(missing)[:5]} …")
        return found + self.more(scene, report)

    def more(self, scene: Scene, report: Json) -> list[str]:
        """What else is not as it should be."""
        return []
