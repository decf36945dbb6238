"""Says what is left to process in a test, and where the handlers are that do not end."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from runnel.testing.store import Store
from runnel.testing.stored import Group

#: Lines about partitions.
MOST = 5
_LIBRARIES = Path(__file__).parent.parent, Path(sysconfig.get_paths()["stdlib"])


class Place(Protocol):
    """One partition of one processor."""

    @property
    def processor(self) -> Any: ...
    @property
    def partition(self) -> int: ...
    @property
    def group(self) -> Group: ...


def described(places: Iterable[Place], queue_of: Callable[[Any], Any], store: Store) -> str:
    """What is not processed, for people."""
    lines = [_line(place, queue_of(place), store) for place in places]
    more = [f"and {len(lines) - MOST} more partitions"] if len(lines) > MOST else []
    return "\n".join(
        ["events are left when the time limit of the test is over:", *lines[:MOST], *more]
    )


def _line(place: Place, queue: Any, store: Store) -> str:
    name, partition, group = place.processor.name, place.partition, place.group
    start = f"  processor {name}, partition {partition}: "
    number = store.lag(group)
    lag = f"{number} event{'s are' if number > 1 else ' is'} not committed"
    if queue is None:
        return f"{start}{lag}, and it was not claimed"
    current = queue.state.current
    if not current:
        why = f"; its commit waits: {group.waits}" if group.waits else ""
        return f"{start}{lag}{why}"
    what = f"event {current[0][0].decode()}"
    if len(current) > 1:
        what += f" and {len(current) - 1} more"
    return f"{start}{lag}, and the handler has {what}{_where(f'{name}/{partition}')}"


def _where(task_name: str) -> str:
    """Where the handler with this task waits."""
    for task in asyncio.all_tasks():
        if task.get_name() == task_name and (frame := _innermost(task.get_coro())):
            code = frame.f_code
            return f", at {code.co_filename}:{frame.f_lineno}, in {code.co_name}"
    return ""


def _innermost(awaited: Any) -> FrameType | None:
    """The innermost frame of user code in a chain of awaits."""
    found: FrameType | None = None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and not _is_library(Path(frame.f_code.co_filename)):
            found = frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return found


def _is_library(path: Path) -> bool:
    """Is this the code of Runnel, of Python, or of a package that is installed?"""
    installed = "site-packages" in path.parts
    return installed or any(map(path.is_relative_to, _LIBRARIES))
