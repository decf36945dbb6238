"""What a worker process does if a supervisor has started it: `runnel worker --processes`."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import threading
from contextlib import suppress

from runnel.cli import logs


class Supervisor:
    """The process that has started this one, as seen from here. `given` is the option."""

    def __init__(self, given: str) -> None:
        descriptor, _, number = given.partition(":")
        os.set_inheritable(int(descriptor), False)
        self._link = socket.socket(fileno=int(descriptor))
        logs.own_fields["process"] = int(number)
        if isinstance(sys.stdout, io.TextIOWrapper):  # What is printed is shown at once.
            sys.stdout.reconfigure(line_buffering=True)
        threading.Thread(target=self._watch, name="runnel-supervisor", daemon=True).start()

    def tell_ready(self, shutdown_timeout: float) -> None:
        """Tell that this process works, and how many seconds it takes at most to end."""
        with suppress(OSError):
            self._link.sendall(f"ready {shutdown_timeout}\n".encode())

    def _watch(self) -> None:
        """End like on SIGTERM when the supervisor has died."""
        with suppress(OSError):
            while self._link.recv(1):
                pass
        # Nobody reads the pipes any more: a `print` of a handler must not fail its event.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        os.kill(os.getpid(), signal.SIGTERM)
