"""Loggers whose records carry fields such as ``processor`` and ``partition``, for any formatter."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_fields: ContextVar[Mapping[str, Any]] = ContextVar("runnel_log_fields")


def about(**fields: Any) -> None:
    """Add fields to all later log records of this task, and of tasks that it starts later."""
    _fields.set({**fields_here(), **fields})


def fields_here() -> Mapping[str, Any]:
    """The fields of this task's log records."""
    return _fields.get({})


class Logger(logging.Logger):
    """Adds the fields of its task to each record, and cannot be disabled.

    `logging.config.dictConfig` disables, by default, every existing logger that it does not
    configure. That would silence a worker whose app sets up its logging. To silence Runnel, set a
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
    """A foreign text as one line that is safe for a terminal: characters that cannot be printed are
    escaped as in Python."""
    joined = " ".join(text.split())
    if joined.isprintable():
        return joined
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in joined)


def logger_of(name: str) -> logging.Logger:
    """The logger of this name."""
    found = logging.getLogger(name)
    found.__class__ = Logger  # Other code may have created it before, to set its level.
    return found


def reason(error: BaseException) -> str:
    """The message of an error, or the name of its class if it has none, such as TimeoutError."""
    return one_line(str(error)) or type(error).__name__
