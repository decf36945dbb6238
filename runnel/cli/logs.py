"""Configures logging of the command line: to stderr, for people or as JSON lines.

If the app configures logging when it is imported, that stays, unless --log-format is given.
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

#: Attributes of every log record: names that no `extra` can have.
_ORDINARY = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


#: How a line tells its time: on a terminal, and elsewhere, where it may be read days later.
_SHORT, _WHOLE = "%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"

#: Fields of every JSON line of this process.
own_fields: dict[str, Any] = {}


class JSONLines(logging.Formatter):
    """Formats a record as a JSON object: its message, its `extra`, and the fields of its task."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        for name, value in {**own_fields, **fields_here(), **extra}.items():
            fields[f"{name}_" if name in fields or name == "exception" else name] = _plain(value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # Its arguments do not fit the message: log both.
        return f"{_plain(record.msg)} {_plain_repr(record.args)}"


def _plain(value: Any) -> Any:
    """A value that JSON can hold: the value itself, or its text."""
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # Not JSON, or a user's class that raises something.
        try:
            return str(value)
        except Exception:  # From the user's code.
            return f"<{type(value).__name__}>"
    return value


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """The handler of this module."""


def begin(style: str) -> None:
    """Call before the app is imported. With "json", every line on stderr is JSON from now on."""
    if style != "json":
        return
    _install("json")
    logging.captureWarnings(True)
    exits.as_json = _say
    sys.excepthook = _uncaught
    threading.excepthook = _ended_a_thread
    sys.unraisablehook = _ignored


def configure(level: str, style: str, *, level_given: bool, style_given: bool) -> None:
    """Call after the app is imported. Logs to stderr, unless the app has configured logging."""
    root = logging.getLogger()
    theirs = [each for each in root.handlers if not isinstance(each, _Handler)]
    if theirs and not style_given:
        if level_given:
            logging.getLogger("runnel").setLevel(level.upper())
        return
    for each in theirs:  # Those that write to the terminal too; others, such as files, stay.
        if type(each) is logging.StreamHandler and each.stream in (sys.stderr, sys.stdout):
            root.removeHandler(each)
    _install(style)
    if level_given or root.level == logging.WARNING:  # The default of Python.
        root.setLevel(level.upper())


def _install(style: str) -> None:
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(each)
    handler = _Handler(sys.stderr)
    times = _SHORT if sys.stderr.isatty() else _WHOLE
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", times)
    handler.setFormatter(JSONLines() if style == "json" else text)
    root.addHandler(handler)


def _say(message: str, level: str, fields: dict[str, Any]) -> None:
    """Write a line at every log level."""
    record = logging.LogRecord(
        "runnel", logging.getLevelName(level.upper()), "", 0, "%s", (message,), None
    )
    vars(record).update(fields)
    print(JSONLines().format(record), file=sys.stderr, flush=True)


def _uncaught(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    logging.getLogger("runnel").critical("%s", kind.__name__, exc_info=(kind, error, trace))


def _ended_a_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return  # That is no error in a thread.
    name = "?" if args.thread is None else args.thread.name
    logging.getLogger("threading").error(
        "uncaught in thread %s", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )


def _ignored(args: sys.UnraisableHookArgs) -> None:
    """Log an error that nothing can catch, such as one from `__del__`."""
    raised = args.exc_value
    trace = None if raised is None else (args.exc_type, raised, args.exc_traceback)
    message = args.err_msg or "Exception ignored in"
    logging.getLogger("runnel").error("%s: %s", message, _plain_repr(args.object), exc_info=trace)


def _plain_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # From the user's code.
        return f"<{type(value).__name__}>"
