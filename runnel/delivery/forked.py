"""Ends a fork of a worker's process that comes back from user code to the worker.

It has the events, the connections and the place in the group of its parent: what it did with them
would be done twice, and what it sent would go between the bytes of its parent.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from contextlib import suppress
from typing import Protocol

from runnel.log import logger_of

logger = logger_of("runnel.worker")


class Ended(Protocol):
    """Something of a worker that is over in a fork of its process."""

    def forked(self) -> None:
        """This process is a fork."""
        ...


#: The process that has a worker, or had one.
_process: int | None = None
_of_worker: weakref.WeakSet[Ended] = weakref.WeakSet()


def watch(of_worker: Ended) -> None:
    """This process has a worker. In a fork of it, this is over."""
    global _process
    _process = os.getpid()
    _of_worker.add(of_worker)


def check() -> None:
    """End this process if it is a fork of a worker's. To be called where user code comes back."""
    if _process is None or _process == os.getpid():
        return
    logger.error(
        "a handler has forked the worker's process, and its child %d came back from the handler: "
        "the child ends here, and the worker goes on. End a child with os._exit(), or use "
        "multiprocessing or subprocess",
        os.getpid(),
    )
    os._exit(1)


def _in_fork() -> None:
    if not _of_worker:
        return
    for each in _of_worker:
        each.forked()
    _of_worker.clear()
    with suppress(RuntimeError):  # In a thread: the fork has no event loop.
        asyncio.get_running_loop().call_soon(check)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)
