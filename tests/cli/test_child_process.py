"""What a worker process prints comes through whole, and its end is told."""

from __future__ import annotations

import os
import signal
import sys
from queue import SimpleQueue

import pytest

from runnel.cli.child_process import LONGEST_LINE, ChildProcess


class Child:
    """A process that runs some code; the socket's number is in `link`."""

    def __init__(self, code: str) -> None:
        self.ready: SimpleQueue[ChildProcess] = SimpleQueue()
        head = "import os, signal, socket, sys; link = int(sys.argv[2].partition(':')[0])\n"
        self.process = ChildProcess([sys.executable, "-c", head + code], 7, "7 | ", self.ready.put)


def test_lines_are_whole_and_have_the_number_unless_they_are_json(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    child = Child(
        "print('one'); print('{\"two\": 2}', file=sys.stderr)\n"
        "sys.stderr.write('thr'); sys.stderr.flush(); sys.stderr.write('ee\\n\\n'); "
        "sys.stderr.write('end')"
    )
    assert child.process.close() == 0
    out, log = capfdbinary.readouterr()
    assert out == b"one\n"
    assert log == b'{"two": 2}\n7 | three\n7 | \n7 | end\n'


def test_a_line_of_any_length_is_passed_on(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    length = 2 * LONGEST_LINE + 5
    assert Child(f"print('x' * {length})").process.close() == 0
    assert capfdbinary.readouterr().out.replace(b"\n", b"") == b"x" * length


@pytest.mark.parametrize(
    ("code", "expected"),
    [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("os.kill(os.getpid(), 15)", 143)],
)
def test_the_exit_code(code: str, expected: int) -> None:
    assert Child(code).process.close() == expected


def test_it_tells_that_it_works_and_how_long_it_may_take_to_end() -> None:
    child = Child(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.write(link, b'ready 0.5\\n'); signal.pause()"
    )
    assert child.ready.get(timeout=30) is child.process
    assert child.process.ready_since is not None
    assert child.process.kill_at is None
    child.process.stop()
    assert child.process.kill_at is not None
    child.process.kill()
    assert child.process.close() == 128 + signal.SIGKILL


def test_the_last_lines_are_not_waited_for_if_another_process_has_the_pipe(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    child = Child(
        "import subprocess; print(subprocess.Popen(['sleep', '300'], close_fds=False).pid)"
    )
    assert child.process.close() == 0
    os.kill(int(capfdbinary.readouterr().out), signal.SIGKILL)
