"""A worker process that a supervisor has started, and what it prints."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

from runnel.cli.worker_figures import Told

#: Bytes of a line. A longer one is passed on in pieces.
LONGEST_LINE = 1_048_576
#: Seconds to wait for the last lines of a process that has ended. A process that it has started may
#: still have its pipes.
LAST_LINES = 1.0
#: Seconds besides `shutdown_timeout` after which a process that does not end is killed. It would
#: have ended itself after one.
PATIENCE = 5.0


class ChildProcess:
    """Process `number`, in a group of its own, so that it gets no Ctrl-C of the terminal.

    It has one end of a socket: when the other end is closed, because the supervisor has died, it
    ends. It writes there when it works, and then `ready` is called in a thread. `prefix` is put
    before the lines of its log.
    """

    def __init__(
        self,
        command: Sequence[str],
        number: int,
        prefix: str,
        ready: Callable[[ChildProcess], object],
    ) -> None:
        self.number = number
        #: Since when it works, by the monotonic clock.
        self.ready_since: float | None = None
        #: What it told last of its health, and when, by the monotonic clock.
        self.health: tuple[float, dict[str, Any]] | None = None
        #: What it told of its figures.
        self.told = Told()
        self._kill_at: float | None = None
        #: Seconds that it has to end.
        self._timeout = 30.0
        self._asked = False
        self._ready = ready
        self._link, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, "--supervised", f"{theirs.fileno()}:{number}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        head = prefix.encode()
        self._readers = [
            _reader(self._process.stdout, lambda line: _write(sys.stdout.buffer, b"", line)),
            _reader(self._process.stderr, lambda line: _write(sys.stderr.buffer, head, line)),
            _reader(self._link.makefile("rb"), self._heard),
        ]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def kill_at(self) -> float | None:
        """When it is to be killed, by the monotonic clock; None as long as it may run."""
        return self._kill_at

    def stop(self) -> None:
        """Ask it to end: it finishes what is running."""
        if not self._asked:
            self._asked = True
            self._kill_at = time.monotonic() + self._timeout + PATIENCE
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._kill_at = None
        self._signal(signal.SIGKILL)

    def close(self) -> int:
        """Wait for its end and its last lines. Returns its exit code: 128 and the number of the
        signal that has killed it."""
        code = self._process.wait()
        end = time.monotonic() + LAST_LINES
        for reader in self._readers:
            reader.join(max(0.0, end - time.monotonic()))
        with suppress(OSError):  # If a process that it has started has its other end.
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()
        return code if code >= 0 else 128 - code

    def _signal(self, number: signal.Signals) -> None:
        # Not by `Popen`, which looks first whether it has ended: then no one else would notice.
        if self._process.returncode is None:
            os.kill(self.pid, number)

    def _heard(self, line: bytes) -> None:
        word, _, text = line.partition(b" ")
        if word == b"health":
            self.health = time.monotonic(), json.loads(text)
        elif word == b"figures":
            self.told.take(json.loads(text))
        elif word == b"ready":
            self._timeout = float(text)
            self.ready_since = time.monotonic()
            self._ready(self)


def _reader(file: IO[bytes], take: Callable[[bytes], None]) -> threading.Thread:
    """A thread that reads a file to its end, line by line."""

    def read() -> None:
        with suppress(OSError, ValueError), file:
            while line := file.readline(LONGEST_LINE):
                take(line)

    thread = threading.Thread(target=read, name="runnel-child", daemon=True)
    thread.start()
    return thread


def _write(file: IO[bytes], prefix: bytes, line: bytes) -> None:
    """Write a whole line at once. One that is JSON stays JSON."""
    end = b"" if line.endswith(b"\n") else b"\n"
    file.write((b"" if line.startswith(b"{") else prefix) + line + end)
    file.flush()
