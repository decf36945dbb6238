"""Errors of user code, in words that can be logged and stored."""

from __future__ import annotations

from collections.abc import Sequence

from runnel.log import one_line

#: Characters of one message at the most: some libraries put a whole document into theirs.
MOST = 1000


def told(error: BaseException, instead: Sequence[BaseException] = ()) -> tuple[str, str]:
    """Type and message of an error, in one line. Of a group, the errors in it are named, too; and
    what middleware raised `instead` of it, when it was told."""
    said = _message(error)
    inner = [f"{type(each).__name__}: {_message(each)}" for each in _leaves(error)]
    if inner:
        said = f"{said}: {'; '.join(inner[:3])}{' …' if len(inner) > 3 else ''}"
    for each in instead:
        said += f" (middleware made {type(each).__name__} of it: {_message(each)})"
    return type(error).__name__, said


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except BaseException:  # It is the user's code that makes it, whatever that raises.
        message = "(its message cannot be shown)"
    if not message and type(error).__name__ == "CancelledError":
        message = "what it awaited was cancelled, though nobody cancelled the handler"
    shown = one_line(message[: 2 * MOST].encode(errors="replace").decode())
    if len(shown) > MOST or len(message) > 2 * MOST:
        shown = f"{shown[:MOST]} … ({len(message)} characters)"
    return shown


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    found: list[BaseException] = []
    for each in error.exceptions:
        found += _leaves(each) or [each]
    return found
