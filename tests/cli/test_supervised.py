"""A worker process and the supervisor that has started it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import ROOT

PROGRAM = """
import os, signal, subprocess, sys, threading
from runnel.cli import logs
from runnel.cli.supervised import Supervisor

told = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: told.set())
other = Supervisor(sys.argv[1])
assert logs.own_fields == {"process": 3}
# A process that it starts has not got the socket.
check = [sys.executable, "-c", f"import os; os.fstat({sys.argv[1][:-2]})"]
assert subprocess.run(check, close_fds=False, stderr=subprocess.DEVNULL).returncode == 1
other.tell_ready(1.5)
while not told.wait(0.01):
    pass
print("nobody reads this", flush=True)
print("nor this", file=sys.stderr, flush=True)
open(sys.argv[2], "w").write("well")
"""


def test_it_tells_that_it_works_and_ends_when_the_supervisor_has_died(tmp_path: Path) -> None:
    result = tmp_path / "result"
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{theirs.fileno()}:3", result],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    with ours, process:
        assert ours.recv(100) == b"ready 1.5\n"
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        ours.close()
        assert process.wait(30) == 0
    assert result.read_text() == "well"
