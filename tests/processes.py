"""Finds and kills the Runnel processes that a test has started."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def runnel_children() -> dict[int, str]:
    """Process id -> command line of the live children of this process that run Runnel.

    Empty where the system has no /proc.
    """
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) != os.getpid() or state == "Z":
                continue
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # It has just ended.
        if any(Path(word).name in ("runnel", "runnel.cli") for word in command):
            found[int(folder.name)] = " ".join(command).strip()
    return found


def kill(pid: int) -> None:
    """Kill a child and wait for it."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
