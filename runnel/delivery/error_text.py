"""Describes errors of user code in text that can be logged and stored."""

from __future__ import annotations

from collections.abc import Sequence

from runnel.log import one_line

#: The most characters of one message: some libraries put a whole document into theirs.
MOST = 1000


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
