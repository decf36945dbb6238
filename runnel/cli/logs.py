"""Logging of the command line: on stderr, for people or as JSON lines.

An app may have a set-up of its own, made when it is imported. That is left alone, unless the form
was asked for on the command line.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import types
from datetime import UTC, datetime
from typing import Any

from runnel.cli import exits
from runnel.log import fields_here

#: What every record has, which no `extra` can be.
_ORDINARY = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JSONLines(logging.Formatter):
    """One JSON object a line: what is said, and each field of the line and of its task."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        for name, value in {**fields_here(), **extra}.items():
            fields[f"{name}_" if name in fields or name == "exception" else name] = _plain(value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # Its arguments do not fit: the line says at least what was to be said.
        return f"{_plain(record.msg)} {_plain_repr(record.args)}"


def _plain(value: Any) -> Any:
    """A value that JSON can hold: as it is, or in words."""
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # No JSON, or a class of the user's that raises whatever it likes.
        try:
            return str(value)
        except Exception:  # It is the user's code that makes it.
            return f"<{type(value).__name__}>"
    return value


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """The one that is made here."""


def begin(style: str) -> None:
    """Before the app is imported: as JSON, whatever is said from now on is."""
    if style != "json":
        return
    _install("json")
    logging.captureWarnings(True)
    exits.as_json = _say
    sys.excepthook = _uncaught
    threading.excepthook = _ended_a_thread
    sys.unraisablehook = _ignored


def configure(level: str, style: str, *, level_given: bool, style_given: bool) -> None:
    """Once the app is imported: log to stderr, unless the app has set up logging."""
    root = logging.getLogger()
    theirs = [each for each in root.handlers if not isinstance(each, _Handler)]
    if theirs and not style_given:
        if level_given:
            logging.getLogger("runnel").setLevel(level.upper())
        return
    for each in theirs:  # Those that write where this does, and leave others such as files.
        if type(each) is logging.StreamHandler and each.stream in (sys.stderr, sys.stdout):
            root.removeHandler(each)
    _install(style)
    if level_given or root.level == logging.WARNING:  # As it is when nobody has set it.
        root.setLevel(level.upper())


def _install(style: str) -> None:
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(each)
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        JSONLines()
        if style == "json"
        else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    root.addHandler(handler)


def _say(message: str, level: str, fields: dict[str, Any]) -> None:
    """Write a line that no level hides."""
    record = logging.LogRecord(
        "runnel", logging.getLevelName(level.upper()), "", 0, "%s", (message,), None
    )
    vars(record).update(fields)
    print(JSONLines().format(record), file=sys.stderr, flush=True)


def _uncaught(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    logging.getLogger("runnel").critical("%s", kind.__name__, exc_info=(kind, error, trace))


def _ended_a_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is SystemExit or told.exc_value is None:
        return  # A thread may end by that.
    name = "?" if told.thread is None else told.thread.name
    logging.getLogger("threading").error(
        "uncaught in thread %s", name, exc_info=(told.exc_type, told.exc_value, told.exc_traceback)
    )


def _ignored(told: sys.UnraisableHookArgs) -> None:
    """What is raised where nobody can catch it, such as in `__del__`."""
    raised = told.exc_value
    trace = None if raised is None else (told.exc_type, raised, told.exc_traceback)
    message = told.err_msg or "Exception ignored in"
    logging.getLogger("runnel").error("%s: %s", message, _plain_repr(told.object), exc_info=trace)


def _plain_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # It is the user's code that makes it.
        return f"<{type(value).__name__}>"
