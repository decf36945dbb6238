"""Restores the signal handlers in a fork of a worker's process, which is no worker itself.

In a child of multiprocessing, for example, SIGTERM and SIGINT do what they do in any program.
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
    """Do this in each fork from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)


def _block() -> None:
    # Python drops a signal that arrives in the child before the handlers are restored.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _restore() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _unblock()
