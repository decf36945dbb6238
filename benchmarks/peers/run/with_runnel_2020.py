"""The Runnel of 2020, with the versions that it was made with; for Python 3.8."""

from __future__ import annotations

from typing import Any

from common import URL, main
from orders import Orders

from runnel import App
from runnel.worker import Worker

# The delays concern only the start, which is not measured.
app = App(
    name="bench",
    redis_url=URL,
    log_level="critical",
    default_join_delay=0,
    default_assignment_sleep=0.2,
)


class Runnel2020(Orders):
    def run_worker(self, stream: Any, handler: Any) -> None:
        app.processor(stream, prefetch_count=100)(handler)
        Worker(app).start()


if __name__ == "__main__":
    # `take` waits for a full batch as long as `within` says; a short time makes its pauses short.
    main(Runnel2020(app, within=0.01))
