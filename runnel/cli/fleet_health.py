"""What probes are told of the processes of `runnel worker --processes`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from runnel.cli.child_process import ChildProcess
from runnel.cli.probes import Answer

#: Seconds after which a process that tells nothing of its health counts as stuck: each tells it
#: every second, from a thread.
SILENT = 10.0


def health(children: Mapping[int, ChildProcess], count: int, stopping: bool) -> Answer:
    """The health of all: alive unless one is stuck, ready if each is. One that has died does not
    count as stuck, because its supervisor starts it again."""
    processes = [_of(children.get(number), number) for number in range(1, count + 1)]
    alive = all(each["alive"] for each in processes)
    ready = alive and not stopping and all(each["ready"] for each in processes)
    problems = [
        f"process {each['process']}: {problem}"
        for each in processes
        for problem in each["problems"]
    ]
    problems[:0] = ["the processes end"] * stopping
    body = {"alive": alive, "ready": ready, "problems": problems, "processes": processes}
    return Answer(alive, ready, body)


def _of(child: ChildProcess | None, number: int) -> dict[str, Any]:
    if child is None:
        return _told(number, alive=True, problems=["it does not run"])
    told = child.health
    if told is None:
        return _told(number, alive=True, problems=["it starts"])
    seconds = time.monotonic() - told[0]
    if seconds > SILENT:
        problem = f"nothing was heard of it for {seconds:.0f} s"
        return _told(number, alive=False, problems=[problem])
    return {"process": number, **told[1]}


def _told(number: int, *, alive: bool, problems: list[str]) -> dict[str, Any]:
    return {"process": number, "alive": alive, "ready": False, "problems": problems}
