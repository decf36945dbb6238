"""A process that loads the worker once, and forks the members of a group from itself.

Each line on stdin says how many more are to start. Each is a process with an event loop,
connections and a member id of its own, and runs `runnel worker`; only Python's start and the
imports are spared, which would take most of a minute for a hundred. They end with it.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from contextlib import suppress

import runnel.worker.worker  # noqa: F401
from benchmarks import app_members
from runnel.cli.worker import worker

with suppress(ImportError):
    import uvloop  # noqa: F401


def main() -> None:
    """Start members until stdin or the process ends."""
    # By sys.exit, so that its children are ended as well: in good order, since they are daemons.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    fork = multiprocessing.get_context("fork")
    members = 0
    for line in sys.stdin:
        for _ in range(int(line)):
            members += 1
            fork.Process(target=member, args=(members,), daemon=True).start()


def member(number: int) -> None:
    """Be a worker, from its command line on."""
    worker([f"{app_members.__name__}:app", "--name", f"m{number}", "--log-level", "warning"])


if __name__ == "__main__":
    main()
