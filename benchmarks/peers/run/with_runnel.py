"""Runnel itself, measured in the same way as its peers. `runnel worker` starts its worker."""

from __future__ import annotations

import sys
from typing import Any

import uvloop
from common import URL, main
from orders import Orders

from runnel import App
from runnel.cli import main as command

app = App("bench", redis_url=URL)


class Runnel(Orders):
    def run_worker(self, stream: Any, handler: Any) -> None:
        app.processor(stream, name="p")(handler)
        sys.modules["with_runnel"] = sys.modules["__main__"]
        command(["worker", "with_runnel:app", "--log-level", "warning"])

    def run(self, work: Any) -> None:
        uvloop.run(work)


if __name__ == "__main__":
    main(Runnel(app))
