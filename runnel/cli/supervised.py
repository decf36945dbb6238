"""What a worker process does if a supervisor has started it: `runnel worker --processes`."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from runnel.cli import logs

#: Returns figures, in objects for lines.
Told = Callable[[], Iterable[dict[str, Any]]]


class Supervisor:
    """The process that has started this one, as seen from here. `given` is the option."""

    def __init__(self, given: str) -> None:
        descriptor, _, number = given.partition(":")
        os.set_inheritable(int(descriptor), False)
        self._link = socket.socket(fileno=int(descriptor))
        logs.own_fields["process"] = int(number)
        if isinstance(sys.stdout, io.TextIOWrapper):  # What is printed is shown at once.
            sys.stdout.reconfigure(line_buffering=True)
        #: Several threads tell, and a long line takes more than one call of the system.
        self._telling = threading.Lock()
        threading.Thread(target=self._watch, name="runnel-supervisor", daemon=True).start()

    def tell_ready(self, shutdown_timeout: float) -> None:
        """Tell that this process works, and how many seconds it takes at most to end."""
        with suppress(OSError):
            self._tell(f"ready {shutdown_timeout}".encode())

    def tell_health(self, ask: Callable[[], dict[str, Any]], figures: Told) -> None:
        """Tell every second how this process is, and its `figures`, from a thread."""

        def tell() -> None:
            with suppress(OSError):
                while True:
                    self._tell(b"health " + json.dumps(ask()).encode())
                    self._tell_figures(figures)
                    time.sleep(1.0)

        threading.Thread(target=tell, name="runnel-health", daemon=True).start()

    def tell_figures(self, figures: Told) -> None:
        """Tell figures for the last time: this process ends."""
        with suppress(OSError):
            self._tell_figures(figures)

    def _tell_figures(self, figures: Told) -> None:
        for line in figures():
            self._tell(b"figures " + json.dumps(line).encode())

    def _tell(self, line: bytes) -> None:
        with self._telling:
            self._link.sendall(line + b"\n")

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
