"""The app of `runnel worker --exec`, whose handler program answers each event with ok."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gate import Gate
from benchmarks.job import job
from benchmarks.records import KINDS, declare
from runnel import App
from runnel.event import Event
from runnel.sidecar.sidecar_app import Sidecar, SidecarApp

HANDLER = Path(__file__).parent / "exec_handler.py"

JOB = job()
gate = Gate(JOB)
stream = declare(App("bench", redis_url=JOB.url), JOB.record, JOB.partitions)


class Measured(SidecarApp):
    """Counts the events that the program has answered."""

    async def _process(self, events: Sequence[Event[Any]], whole: bool = False) -> None:
        await gate.wait()
        await super()._process(events, whole)
        gate.hit(len(events))


app = Measured(
    Sidecar(
        [sys.executable, str(HANDLER)],
        "bench",
        stream.name,
        JOB.name,
        key=KINDS[JOB.record].key,
        batch=100 if JOB.form == "take" else 1,
    ),
    {stream.name: stream.spec},
    JOB.url,
).app
