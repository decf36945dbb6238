"""Ends a fork of a worker's process that comes back from user code to the worker.

It has the events, the connections and the place in the group of its parent: what it did with them
would be done twice.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from runnel.log import logger_of

logger = logger_of("runnel.worker")


class Ended(Protocol):
    """Something of a worker that is over in a fork of its process."""

    def forked(self) -> None:
        """This process is a fork."""
        ...


_of_workers: weakref.WeakSet[Ended] = weakref.WeakSet()


def watch(of_worker: Ended) -> None:
    """In forks of this process, this is over."""
    _of_workers.add(of_worker)


def check(process: int) -> None:
    """End this process if what belongs to another `process`, of which it is a fork, goes on here.
    To be called where user code comes back."""
    if process == os.getpid():
        return
    logger.error(
        "a handler has forked the worker's process, and its child %d came back from the handler: "
        "the child ends here, and the worker goes on. End a child with os._exit(), or use "
        "multiprocessing or subprocess",
        os.getpid(),
    )
    os._exit(1)


def _in_fork() -> None:
    for each in list(_of_workers):
        each.forked()
    _of_workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)
