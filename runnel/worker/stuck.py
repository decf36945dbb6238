"""Describes what a process is still doing, for the log line before it is ended by force."""

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
#: Code in these folders is of no interest: that of Runnel itself and of redis-py.
_OURS = (str(Path(__file__).parent.parent), str(Path(redis.__file__).parent))
#: Part of the name of a thread that joins the threads of a pool when the loop closes.
_JOINER = "(_do_shutdown)"
#: The file and function where an idle thread of a pool waits. A busy one may be elsewhere in that
#: file.
_POOL, _IDLE = str(Path("concurrent", "futures", "thread.py")), "_worker"


class Work(Protocol):
    """What a worker knows about what it runs."""

    def unfinished(self) -> list[str]:
        """What is running now."""
        ...

    def cut_off(self) -> list[str]:
        """What did not finish within the setting `shutdown_timeout`."""
        ...


def describe(work: Work, loop: asyncio.AbstractEventLoop | None) -> str:
    """What is still running, in one line. Call this from a thread that does not run the loop."""
    parts = work.unfinished()
    parts += [f"asyncio task {_task_name(task)}" for task in _tasks(loop)]
    if main := _main_thread(loop):
        parts.append(main)
    parts += threads()
    before = [each for each in work.cut_off() if each not in parts]
    text = "; ".join(parts) or "nothing that could be found"
    return f"{text} (cut off before: {'; '.join(before)})" if before else text


def threads(names: Collection[str] | None = None) -> list[str]:
    """Busy threads, all or those with one of these names, and where in the code they are."""
    found = [each for each in _threads() if names is None or each[0].name in names]
    return [f"thread {each.name} in {_position(frame)}" for each, frame in found]


def _tasks(loop: asyncio.AbstractEventLoop | None) -> list[asyncio.Task[object]]:
    """Tasks that run user code and have not ended, those of handlers among them."""
    if loop is None:
        return []
    found = [task for task in asyncio.all_tasks(loop) if not task.done()]
    return [task for task in found if _user_coroutine(task)]


def _task_name(task: asyncio.Task[object]) -> str:
    coroutine = _user_coroutine(task)
    code: CodeType = coroutine.cr_code
    return f"{coroutine.__qualname__} ({_file_line(code.co_filename, code.co_firstlineno)})"


def _user_coroutine(task: asyncio.Task[object]) -> Any:
    """The first coroutine of user code in the chain from the task to what it awaits, if any."""
    at: Any = task.get_coro()
    while (code := getattr(at, "cr_code", None)) and not _is_user_or_package(code.co_filename):
        at = at.cr_await
    return at if code else None


def _main_thread(loop: asyncio.AbstractEventLoop | None) -> str:
    """Where in the code the main thread is, unless its event loop runs."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None or _runs(loop):
        return ""
    blocked = loop is not None and loop.is_running()
    return f"{'the event loop, blocked' if blocked else 'the main thread'} in {_position(frame)}"


def _runs(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Does the loop run a callback?"""
    if loop is None or not loop.is_running():
        return False
    answered = threading.Event()
    loop.call_soon_threadsafe(answered.set)
    return answered.wait(0.1)


def _threads() -> list[tuple[threading.Thread, FrameType]]:
    """Busy threads. An idle thread of a pool ends with the process; a daemon counts only if it runs
    user code."""
    frames = sys._current_frames()
    found = []
    for each in threading.enumerate():
        frame = frames.get(each.ident or 0)
        if each in (threading.main_thread(), threading.current_thread()) or frame is None:
            continue
        if _idle_in_a_pool(frame.f_code) or _JOINER in each.name:
            continue
        if not each.daemon or any(map(_is_user_code, _files(frame))):
            found.append((each, frame))
    return found


def _idle_in_a_pool(code: CodeType) -> bool:
    return code.co_name == _IDLE and code.co_filename.endswith(_POOL)


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


def _position(frame: FrameType) -> str:
    """The innermost position in user code, else in an installed package, else in any code."""
    for wanted in (_is_user_code, _is_user_or_package, None):
        at: FrameType | None = frame
        while at is not None:
            if wanted is None or wanted(at.f_code.co_filename):
                return f"{at.f_code.co_name} ({_file_line(at.f_code.co_filename, at.f_lineno)})"
            at = at.f_back
    return "nowhere"


def _is_user_code(file: str) -> bool:
    return _is_user_or_package(file) and not any(each in file for each in _INSTALLED)


def _is_user_or_package(file: str) -> bool:
    standard = file.startswith(_STANDARD) and not any(each in file for each in _INSTALLED)
    return os.path.isabs(file) and not standard and not file.startswith(_OURS)


def _file_line(file: str, line: int) -> str:
    return f"{Path(file).name}:{line}"
