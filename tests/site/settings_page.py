"""The reference of the settings: of an app, and of what it declares."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from runnel import App, DeadLetterMiddleware, ExceptionPolicy, Stream
from runnel.settings import Keywords, Settings, wanted
from tests.site.prose import cell
from tests.site.setting_texts import TEXTS

_HEAD = """# Settings

Every setting, with its type, unit, default and where it may be given. This page is made from the
code. `runnel doctor example:app` shows the value of each setting of an app, and which source it
has.

## Where a value comes from

The first of these that is given counts:

1. the option of a command, such as `--redis-url` or `--shutdown-timeout`;
2. the keyword of a stream or a processor, for a setting that has the same name there (`retries`,
   `prefetch`, …);
3. the keyword of `App(…)`;
4. the environment variable `RUNNEL_<NAME>`;
5. the default.

Each value is checked where it is given. A wrong one raises `ConfigError` (exit code 2), which
names the setting and the values that it may have. An unknown variable that begins with `RUNNEL_`
is reported once, with the most similar name.

## Of an app

Keywords of `App(name, …)`; `app.configure(…)` changes them before anything runs.

"""

#: Heading -> the function whose keywords are settings, and a sentence about it.
DECLARATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "Of a stream": (App.stream, "Keywords of `app.stream(name, …)`."),
    "Of a derived stream": (
        Stream.derive,
        "Keywords of `stream.derive(name, record, …)`: a stream with the partitions of its source.",
    ),
    "Of a processor": (
        App.processor,
        "Keywords of `@app.processor(stream, …)`, and of `@app.on(stream, …)`, which also takes "
        "`concurrency`.",
    ),
    "Of a table": (App.table, "Keywords of `app.table(name, stream, …)`."),
    "Of a dead letter middleware": (
        DeadLetterMiddleware.__init__,
        "Keywords of `DeadLetterMiddleware(…)`.",
    ),
    "Of a timer": (App.timer, "Keywords of `@app.timer(…)`."),
    "Of a crontab": (App.crontab, "Keywords of `@app.crontab(spec, …)`."),
    "Of a task": (App.task, "Keywords of `@app.task(…)`."),
    "Of a test": (App.test, "Keywords of `app.test(*processors, …)`."),
}

_VARIABLES = """
## Other environment variables

| variable | meaning |
| --- | --- |
| `RUNNEL_<COMMAND>_<OPTION>` | each option of a command, such as `RUNNEL_WORKER_LOG_FORMAT=json`: see [commands](commands.md) |
| `RUNNEL_SERVER_BIN` | the server program for `runnel server`, `--embedded` and the fixtures of pytest |
| `RUNNEL_TEST_URL` | the server for the fixtures of pytest, in place of one that they start: see [testing](../testing.md#with-a-server) |
| `NO_COLOR`, `TERM=dumb` | no colours in any output |
"""  # noqa: E501


#: Types that have no short name in Python.
_TYPES = {
    "record": "a class, or a union of classes",
    "value": "a type",
    "sink": "a stream",
    "default": "a value, or a function without arguments",
}


def keywords(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that are settings."""
    given = inspect.signature(function).parameters.values()
    if function is DeadLetterMiddleware.__init__:
        return [each for each in given if each.name != "self"]
    return [each for each in given if each.kind is each.KEYWORD_ONLY]


def meaning(heading: str, name: str) -> str | None:
    """What a keyword of a declaration means: its own text, or that of the setting of its name."""
    if (heading, name) in TEXTS:
        return TEXTS[heading, name]
    field = Settings.model_fields.get(name)
    return field.description if field else None


def text() -> str:
    """The page, in Markdown."""
    parts = [_HEAD, "| setting | default | meaning |\n| --- | --- | --- |\n"]
    for name, field in Settings.model_fields.items():
        parts.append(
            f"| `{name}`<br>`RUNNEL_{name.upper()}` | `{field.default}` | "
            f"{cell(field.description or '')}<br>*{cell(_values(name))}* |\n"
        )
    for heading, (function, about) in DECLARATIONS.items():
        parts += [f"\n## {heading}\n\n{about}\n\n", "| keyword | default | meaning |\n"]
        parts.append("| --- | --- | --- |\n")
        for each in keywords(function):
            told = meaning(heading, each.name) or ""
            parts.append(
                f"| `{each.name}` | {_default(each)} | {cell(told)}<br>*{cell(_kind(each))}* |\n"
            )
    return "".join([*parts, _VARIABLES])


def _values(name: str) -> str:
    return wanted(name).replace('"', "`").replace(" or ", ", ")


def _kind(parameter: inspect.Parameter) -> str:
    name = parameter.name
    if name in ("retain", "commit"):
        return _values(name)
    if name == "start":
        return "`earliest`, `latest`"
    if name == "exception_policy":
        return ", ".join(f"`{each.value}`" for each in ExceptionPolicy)
    if name in Settings.model_fields or name in Keywords.model_fields:
        return _values(name)
    if name in _TYPES:
        return _TYPES[name]
    kind = re.sub(r" \| None$", "", str(parameter.annotation))
    return f"`{kind}`"


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is parameter.empty:
        return "required"
    if parameter.name in Settings.model_fields and value is None:
        return "the setting"
    if value is None or type(value) is object:
        return "none"
    if isinstance(value, ExceptionPolicy):
        return f"`{value.value}`"
    return f"`{value}`" if value != () else "none"
