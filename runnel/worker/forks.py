"""A fork of a worker's process, such as those of multiprocessing, is no worker.

The signals that end a process end it as they would in any other program.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import cache

ENDING = (signal.SIGTERM, signal.SIGINT)

_forking = threading.local()


@cache
def watch() -> None:
    """From now on, in each fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_begin)


def _hold() -> None:
    # Python drops what comes to a child before it has begun.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _go_on() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _begin() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _go_on()
