"""What is declared again: in a notebook, in a REPL, or by `importlib.reload`.

A cell that runs again declares what it has declared before. That replaces the former, with a note.
Anywhere else, a name that is declared twice is a mistake. The two are told apart by the code that
runs: each run of a cell, and each load of a module, is a code object of its own, and one that
declares a name twice, as in a loop, is a mistake in a notebook, too.
"""

from __future__ import annotations

import functools
import sys
from inspect import CO_OPTIMIZED
from types import CodeType, FrameType
from typing import Any, NamedTuple

from runnel.log import logger_of

logger = logger_of("runnel.declaration")


class Origin(NamedTuple):
    """Where a name was declared: the module and the name of what was decorated, or of the function
    that called; and the code, of a cell or a module, that ran."""

    module: str
    name: str
    code: CodeType | None


class Origins:
    """Where the names of one app were declared."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._known: dict[tuple[str, str], Origin] = {}
        self._noted: set[str] = set()

    def claim(self, kind: str, name: str, taken: bool, function: Any = None) -> bool:
        """Note that a name is declared here. Returns False if it is taken, and this does not
        replace what has it. `kind` is what is declared, such as ``stream``; `function` is the
        decorated one."""
        here, again = _origin(function), _running_again()
        former = self._known.get((kind, name))
        if taken and not (
            again
            and former is not None
            and former[:2] == here[:2]
            and None is not former.code is not here.code
        ):
            return False
        self._known[kind, name] = here
        if taken:
            self._note(
                f"app {self._app}: the {kind} {name} was declared again, and replaces the former; "
                "a worker that runs already goes on with that one"
            )
        return True

    def _note(self, text: str) -> None:
        """Say it once: a cell may run often."""
        if text not in self._noted:
            self._noted.add(text)
            logger.warning(text)


def _origin(function: Any) -> Origin:
    caller = _caller()
    while isinstance(function, functools.partial):
        function = function.func
    if function is None:
        module, name = caller.f_globals.get("__name__"), caller.f_code.co_qualname
        name = "" if _is_top_level(caller) else name
    else:
        function = function if hasattr(function, "__qualname__") else type(function)
        module, name = function.__module__, function.__qualname__
    top = _top_level(caller)
    return Origin(str(module), name, None if top is None else top.f_code)


def _running_again() -> bool:
    """May this code run for the second time, as a cell or in a module that is loaded again?"""
    top = _top_level(_caller())
    if top is None:
        return False
    if top.f_globals.get("__name__") == "__main__":
        # Python sets it for a prompt, and so does IPython, also in a notebook.
        return hasattr(sys, "ps1")
    frame: FrameType | None = top
    while frame is not None:
        if frame.f_code.co_name == "reload" and frame.f_globals.get("__name__") == "importlib":
            return True
        frame = frame.f_back
    return False


def _caller() -> FrameType:
    """The frame of the user's code that declares something."""
    frame = sys._getframe()
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "runnel"


def _top_level(frame: FrameType | None) -> FrameType | None:
    """The frame of the cell or the module whose code runs; None in a thread."""
    while frame is not None and not _is_top_level(frame):
        frame = frame.f_back
    return frame


def _is_top_level(frame: FrameType) -> bool:
    return not frame.f_code.co_flags & CO_OPTIMIZED and frame.f_locals is frame.f_globals
