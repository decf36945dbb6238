"""Loggers of Runnel. Their lines carry what they are about, such as ``processor`` and
``partition``, as fields of the record, so that a formatter of any kind can show them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_fields: ContextVar[Mapping[str, Any]] = ContextVar("runnel_log_fields")


def about(**fields: Any) -> None:
    """From here on, lines of this task and of the tasks that it starts have these fields too."""
    _fields.set({**fields_here(), **fields})


def fields_here() -> Mapping[str, Any]:
    """The fields that a line of this task has."""
    return _fields.get({})


class Logger(logging.Logger):
    """Adds the fields of its task, and stays on.

    `logging.config.dictConfig` turns off every logger that it is not told of, unless it is asked
    not to, and so silences a worker whose app sets up its logging. Who wants silence can set a
    level, a filter or `propagate`.
    """

    @property
    def disabled(self) -> bool:
        """Never."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None: ...

    def makeRecord(self, *args: Any, **options: Any) -> logging.LogRecord:
        """A record with the fields of the task, unless its own `extra` says otherwise."""
        record = super().makeRecord(*args, **options)
        for name, value in fields_here().items():
            record.__dict__.setdefault(name, value)
        return record


def one_line(text: str) -> str:
    """A text that somebody else wrote, as one line that does nothing to a terminal: what cannot be
    printed is shown as Python would write it."""
    joined = " ".join(text.split())
    if joined.isprintable():
        return joined
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in joined)


def logger_of(name: str) -> logging.Logger:
    """The logger of this name."""
    found = logging.getLogger(name)
    found.__class__ = Logger  # Somebody may have asked for it before, to set its level.
    return found


def reason(error: BaseException) -> str:
    """The message of an error, or what it is if it has none, as a time limit that is over."""
    return one_line(str(error)) or type(error).__name__
