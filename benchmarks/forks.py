"""A process that loads the worker once, and forks the members of a group from itself.

Each line on stdin is the number of members to start. Each member is a process with an event loop,
connections and a member id of its own, and runs `runnel worker`. Only the start of Python and the
imports are shared, which would take most of a minute for a hundred. Members end with this process.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess

import runnel.worker.worker  # noqa: F401
from benchmarks import app_members
from runnel.cli.worker import worker

with suppress(ImportError):
    import uvloop  # noqa: F401


#: Seconds for a clean end; less than the harness gives this process.
PATIENCE = 10.0


def main() -> None:
    """Start members until stdin or the process ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    fork = multiprocessing.get_context("fork")
    members: list[BaseProcess] = []
    try:
        for line in sys.stdin:
            for _ in range(int(line)):
                one = fork.Process(target=member, args=(len(members) + 1,), daemon=True)
                members.append(one)
                one.start()
    finally:
        end([each for each in members if each.pid])


def end(members: Sequence[BaseProcess]) -> None:
    """End them; kill those that do not end by themselves, as their server may be gone."""
    for each in members:
        each.terminate()
    deadline = time.monotonic() + PATIENCE
    for each in members:
        each.join(max(0.0, deadline - time.monotonic()))
        each.kill()


def member(number: int) -> None:
    """Run `runnel worker` in this process."""
    worker([f"{app_members.__name__}:app", "--name", f"m{number}", "--log-level", "warning"])


if __name__ == "__main__":
    main()
