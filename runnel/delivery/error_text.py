"""Describes errors of user code in text that can be logged and stored."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from runnel.log import one_line

#: The most characters of one message: some libraries put a whole document into theirs.
MOST = 1000
#: How the note begins that an error gets.
_NOTE = "In Runnel: "
#: Errors of a chain in a traceback, and frames of each.
_CHAIN, _FRAMES = 3, 8


def describe_error(error: BaseException, instead: Sequence[BaseException] = ()) -> tuple[str, str]:
    """Type and message of an error, on one line.

    The message of an exception group names the errors in it, too. `instead` are the errors that
    middleware raised when `error` was raised in it.
    """
    text = _message(error)
    inner = [f"{type(each).__name__}: {_message(each)}" for each in _leaves(error)]
    if inner:
        text = f"{text}: {'; '.join(inner[:3])}{' …' if len(inner) > 3 else ''}"
    for each in instead:
        text += f" (middleware made {type(each).__name__} of it: {_message(each)})"
    return type(error).__name__, text


def traceback_of(
    error: BaseException, where: str
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """What `logging` shows of an error of user code: the traceback from the user's first frame on,
    and a note that says `where`, such as the processor, the partition and the event."""
    with contextlib.suppress(Exception):  # Of a class that allows no notes.
        # An object that is raised again and again keeps one note.
        notes = [each for each in getattr(error, "__notes__", ()) if not each.startswith(_NOTE)]
        error.__notes__ = [*notes, f"{_NOTE}{where}"]
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return type(error), error, trace or error.__traceback__


def traceback_text(error: BaseException) -> str:
    """Where an error of user code was raised, and what it was raised from, as Python writes it: the
    last frames, from the user's first one on. Empty if there is none, or if it cannot be told."""
    parts: list[str] = []
    with contextlib.suppress(Exception):  # What is told is told by objects of the user.
        for _ in range(_CHAIN):  # A chain may be a circle.
            trace = error.__traceback__
            while trace is not None and _is_ours(trace):
                trace = trace.tb_next
            frames = traceback.format_list(traceback.extract_tb(trace)[-_FRAMES:])
            if frames:
                parts.append(f"{''.join(frames)}{type(error).__name__}: {_message(error)[:300]}\n")
            if (origin := _origin(error)) is None:
                break
            error = origin
    return "\nand so:\n\n".join(reversed(parts))


def _origin(error: BaseException) -> Any:
    """What an error was raised from; of a group, the first of its errors."""
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == "runnel"


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except BaseException:  # `__str__` is user code, which may raise anything.
        message = "(its message cannot be shown)"
    if not message and type(error).__name__ == "CancelledError":
        message = (
            "a task or future that it awaited was cancelled, though nobody cancelled the handler"
        )
    text = one_line(message[: 2 * MOST].encode(errors="replace").decode())
    if len(text) > MOST or len(message) > 2 * MOST:
        text = f"{text[:MOST]} … ({len(message)} characters)"
    return text


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    found: list[BaseException] = []
    for each in error.exceptions:
        found += _leaves(each) or [each]
    return found
