"""Worker processes that do not end by themselves, and what they log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.worker.stubborn import Item, app, items
from tests.worker.workers import ROOT, until

#: The timeout is half a second. The machine may be busy; what is stuck is stuck for 300 s.
ENDS = 20.0


class Stubborn:
    """A worker of `tests.worker.stubborn`, and what it logs."""

    def __init__(self, url: str, kind: str, folder: Path, *arguments: str, path: str = "") -> None:
        self.url = url
        self.environment = {
            **os.environ,
            "RUNNEL_REDIS_URL": url,
            "KIND": kind,
            "PYTHONPATH": f"{path}:{ROOT}",
        }
        self.file = folder / "said"
        command = ["worker", "tests.worker.stubborn:app", *arguments]
        with self.file.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runnel", *command],
                cwd=ROOT,
                env=self.environment,
                stderr=said,
            )

    @property
    def said(self) -> str:
        return self.file.read_text()

    async def begun(self) -> None:
        await until(lambda: "begun" in self.said, "it has begun")

    async def send(self) -> None:
        app.configure(redis_url=self.url)
        async with app:
            await items.send(Item())

    def ended(self) -> int:
        return self.process.wait(ENDS)
