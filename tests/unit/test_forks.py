"""A fork ends on signals as any program does, from its first moment; its parent goes on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from runnel.worker import forks

when, number = sys.argv[1], int(sys.argv[2])

def received(number, frame):
    os._exit(3)  # The child must not run the handler of its parent.

def interrupt():
    os.kill(os.getpid(), number)

if when == "during the fork":
    os.register_at_fork(after_in_child=interrupt)
for each in forks.ENDING:
    signal.signal(each, received)
forks.watch()
child = os.fork()
if not child:
    if when == "after it":
        interrupt()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert [signal.getsignal(each) for each in forks.ENDING] == [received, received]
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("after it", signal.SIGTERM),
        ("after it", signal.SIGINT),
        ("during the fork", signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_fork_as_it_ends_any_program(when: str, number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, when, str(int(number))],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, f"{-number}\n"), done.stderr
    assert ("KeyboardInterrupt" in done.stderr) == (number == signal.SIGINT)
