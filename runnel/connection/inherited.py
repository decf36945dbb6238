"""Takes the connections of a process away from its forks.

A fork shares the sockets of its parent: what it read would be missing there, and what it wrote
would go between the bytes of its parent. In a fork they lead nowhere.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol


class Connected(Protocol):
    """Something that has connections."""

    def descriptors(self) -> Iterable[int]:
        """The file descriptors of those that are open."""
        ...


_connected: weakref.WeakSet[Connected] = weakref.WeakSet()


def watch(connected: Connected) -> None:
    """In forks of this process, its connections lead nowhere."""
    _connected.add(connected)


def _in_fork() -> None:
    if not _connected:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for each in list(_connected):
        for number in each.descriptors():
            with suppress(OSError):
                os.dup2(nowhere, number)
    os.close(nowhere)
    _connected.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)
