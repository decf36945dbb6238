"""The health of several worker processes."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from runnel.cli.child_process import ChildProcess
from runnel.cli.fleet_health import SILENT, health
from tests.cli.supervising import Supervised, supervised
from tests.cli.test_worker_figures import of
from tests.worker.workers import until

__all__ = ["supervised"]


def child(*, seconds: float | None = 0.0, alive: bool = True, ready: bool = True) -> ChildProcess:
    """A process that told its health so many seconds ago."""
    made = ChildProcess.__new__(ChildProcess)
    told = {"alive": alive, "ready": ready, "problems": [] if ready else ["why"]}
    made.health = None if seconds is None else (time.monotonic() - seconds, told)
    return made


@pytest.mark.parametrize(
    ("second", "alive", "ready", "problems"),
    [
        ({}, True, True, []),
        ({"ready": False}, True, False, ["process 2: why"]),
        ({"alive": False, "ready": False}, False, False, ["process 2: why"]),
        ({"seconds": None}, True, False, ["process 2: it starts"]),
        (None, True, False, ["process 2: it does not run"]),
        (
            {"seconds": SILENT + 5},
            False,
            False,
            ["process 2: nothing was heard of it for 15 s"],
        ),
    ],
)
def test_one_that_is_stuck_or_not_ready_counts_for_all(
    second: dict[str, Any] | None, alive: bool, ready: bool, problems: list[str]
) -> None:
    children = {1: child()} if second is None else {1: child(), 2: child(**second)}
    found = health(children, 2, stopping=False)
    assert (found.alive, found.ready, found.body["problems"]) == (alive, ready, problems)
    assert [each["process"] for each in found.body["processes"]] == [1, 2]


def test_processes_that_end_are_alive_but_not_ready() -> None:
    found = health({1: child()}, 1, stopping=True)
    assert (found.alive, found.ready) == (True, False)
    assert found.body["problems"] == ["the processes end"]


def probe(port: int) -> dict[str, Any]:
    """What /readyz says."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as reply:
            return {"status": reply.status, **json.load(reply)}
    except HTTPError as error:
        return {"status": error.code, **json.load(error)}


def scraped(port: int, name: str) -> float:
    """The sum of the samples of a metric."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return of(reply.read(), name)


async def test_a_supervisor_answers_for_its_processes(supervised: Supervised) -> None:
    supervised.start("--processes", "2", "--health-port", "0", "--health-host", "127.0.0.1")
    begun = await supervised.heard("begun1", 2)
    found = re.search(r"probes: http://127\.0\.0\.1:(\d+)/healthz and /readyz", supervised.log)
    assert found
    port = int(found[1])
    await until(lambda: probe(port)["status"] == 200, "both are ready")
    await until(lambda: scraped(port, "runnel_worker_processes") == 2, "both tell their figures")
    calls = scraped(port, "runnel_script_calls_total")
    os.kill(begun[0], signal.SIGSTOP)
    os.kill(begun[1], signal.SIGKILL)
    await until(lambda: "it does not run" in str(probe(port)["problems"]), "it has noticed")
    assert scraped(port, "runnel_worker_processes") == 1
    assert scraped(port, "runnel_script_calls_total") >= calls > 0, "those of the dead one stay"
    os.kill(begun[0], signal.SIGCONT)
    await until(lambda: probe(port)["status"] == 200, "both are ready again")
    supervised.signal()
    assert supervised.ended() == 0
