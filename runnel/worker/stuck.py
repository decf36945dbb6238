"""What a process is still at, for the line that is written before it is ended by force."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

import redis

_STANDARD = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
_INSTALLED = ("site-packages", "dist-packages")
#: Code under these is not what somebody looks for: our own, and what we build on.
_OURS = (str(Path(__file__).parent.parent), str(Path(redis.__file__).parent))
#: A thread that joins those of a pool when the loop closes.
_JOINER = "(_do_shutdown)"
#: Where an idle thread of a pool waits; one at work may be elsewhere in that file.
_POOL, _IDLE = str(Path("concurrent", "futures", "thread.py")), "_worker"


class Work(Protocol):
    """What a worker knows of what it runs."""

    def in_hand(self) -> list[str]: ...

    def cut_off(self) -> list[str]: ...


def told(work: Work, loop: asyncio.AbstractEventLoop | None) -> str:
    """What goes on, in one line.

    To be called by another thread than the one that runs the loop.
    """
    parts = work.in_hand()
    parts += [f"asyncio task {_named(task)}" for task in _tasks(loop)]
    if main := _main(loop):
        parts.append(main)
    parts += threads()
    before = [each for each in work.cut_off() if each not in parts]
    text = "; ".join(parts) or "nothing that could be found"
    return f"{text} (cut off before: {'; '.join(before)})" if before else text


def threads(names: Collection[str] | None = None) -> list[str]:
    """Threads that are at work, all or those of some names, and where they are."""
    found = [each for each in _threads() if names is None or each[0].name in names]
    return [f"thread {each.name} in {_where(frame)}" for each, frame in found]


def _tasks(loop: asyncio.AbstractEventLoop | None) -> list[asyncio.Task[object]]:
    """Tasks that run the user's own code and have not ended, a handler's among them."""
    if loop is None:
        return []
    found = [task for task in asyncio.all_tasks(loop) if not task.done()]
    return [task for task in found if _coroutine(task)]


def _named(task: asyncio.Task[object]) -> str:
    coroutine = _coroutine(task)
    code: CodeType = coroutine.cr_code
    return f"{coroutine.__qualname__} ({_place(code.co_filename, code.co_firstlineno)})"


def _coroutine(task: asyncio.Task[object]) -> Any:
    """The outermost of the user's own, on the way from the task to what it waits for, if any."""
    at: Any = task.get_coro()
    while (code := getattr(at, "cr_code", None)) and not _packages(code.co_filename):
        at = at.cr_await
    return at if code else None


def _main(loop: asyncio.AbstractEventLoop | None) -> str:
    """Where the main thread is, unless its event loop is free."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None or _free(loop):
        return ""
    blocked = loop is not None and loop.is_running()
    return f"{'the event loop, blocked' if blocked else 'the main thread'} in {_where(frame)}"


def _free(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Does the loop do what it is asked to?"""
    if loop is None or not loop.is_running():
        return False
    answered = threading.Event()
    loop.call_soon_threadsafe(answered.set)
    return answered.wait(0.1)


def _threads() -> list[tuple[threading.Thread, FrameType]]:
    """Threads that are at work. An idle one of a pool ends when the process does; one that is a
    daemon only counts if it is in the user's code."""
    frames = sys._current_frames()
    found = []
    for each in threading.enumerate():
        frame = frames.get(each.ident or 0)
        if each in (threading.main_thread(), threading.current_thread()) or frame is None:
            continue
        if _waits_in_a_pool(frame.f_code) or _JOINER in each.name:
            continue
        if not each.daemon or any(map(_users, _files(frame))):
            found.append((each, frame))
    return found


def _waits_in_a_pool(code: CodeType) -> bool:
    return code.co_name == _IDLE and code.co_filename.endswith(_POOL)


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


def _where(frame: FrameType) -> str:
    """The innermost place in the user's own code, else in a package, else the innermost."""
    for wanted in (_users, _packages, None):
        at: FrameType | None = frame
        while at is not None:
            if wanted is None or wanted(at.f_code.co_filename):
                return f"{at.f_code.co_name} ({_place(at.f_code.co_filename, at.f_lineno)})"
            at = at.f_back
    return "nowhere"


def _users(file: str) -> bool:
    return _packages(file) and not any(each in file for each in _INSTALLED)


def _packages(file: str) -> bool:
    standard = file.startswith(_STANDARD) and not any(each in file for each in _INSTALLED)
    return os.path.isabs(file) and not standard and not file.startswith(_OURS)


def _place(file: str, line: int) -> str:
    return f"{Path(file).name}:{line}"
