"""The reference of the names in Python, from their docstrings, in the order of the guide."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from pydantic import BaseModel

import runnel
from runnel import testing
from tests.site.pages import ROOT
from tests.site.prose import docstring, prose

_HEAD = """# Names in Python

Everything that `runnel` and `runnel.testing` export, from the docstrings: editors and
`help(runnel.App.stream)` show the same. The [guide](../guide.md) shows how they are used. What is
not on this page may change in any version."""

#: Methods that only Runnel calls.
INTERNAL = {
    "Delayed.parts",
    "Events.uncancellable",
    "Stream.check_writable",
    "Worker.cut_off",
    "Worker.end_because",
    "Worker.run_until_cancelled",
    "Worker.work",
}
#: Attributes that only Runnel uses.
HIDDEN = {("App", "module"), ("App", "under_test")}


def rows() -> list[tuple[list[str], str, str]]:
    """The table of the guide: names, what they are, where they are explained."""
    _, _, part = (ROOT / "docs/guide.md").read_text().partition("## Every name\n")
    found = re.findall(r"^\| (`.*?) \| (.*) \| (.*) \|$", part, re.M)
    return [(re.findall(r"`(\w+)`", cell), what, where) for cell, what, where in found]


def text() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for names, what, where in rows():
        alone = len(names) == 1
        parts.append(f"## {heading(names[0])}\n" if alone else f"## {', '.join(names)}\n")
        guide = re.sub(r"\]\(#", "](../guide.md#", where)
        about = re.sub(r"\]\(#", "](../guide.md#", what)
        parts.append(f"{about[0].upper()}{about[1:]}. Explained in: {guide}.\n")
        for name in names:
            parts += [] if alone else [f"### {heading(name)}\n"]
            parts.append(class_section(name, getattr(runnel, name)))
    parts.append("## runnel.testing\n\nWhat `app.test()` returns: see [testing](../testing.md).\n")
    for name in testing.__all__:
        parts.append(f"### {heading(name)}\n")
        parts.append(class_section(name, getattr(testing, name)))
    return "\n".join(parts)


def heading(name: str) -> str:
    """The heading of a name, whose anchor is the name itself."""
    return f"{name} {{#{name}}}"


def class_section(name: str, found: type[Any]) -> str:
    """A class with its attributes and methods."""
    bases = [each.__name__ for each in found.__bases__ if each.__name__ in runnel.__all__]
    parts = [f"A kind of [`{bases[0]}`](#{bases[0]}).\n"] if bases else []
    if made_by_users(found):
        parts.append(signature(name, found.__init__, found=True))
    parts.append(docstring(inspect.cleandoc(vars(found).get("__doc__") or "")) + "\n")
    inherited = [
        base.__name__ for base in found.__mro__[1:] if base.__name__ in runnel.__all__
    ]  # Their methods are shown once.
    listed = attributes(found)
    if listed:
        parts.append("\n".join(f"- `{each}`{told and ': ' + told}" for each, told in listed) + "\n")
    for method, each, kind in methods(found):
        if any(hasattr(getattr(runnel, base), method) for base in inherited):
            continue
        parts.append(f"#### {name}.{method} {{#{name}.{method} .api}}\n")
        parts.append(signature(method, each, kind=kind))
        parts.append(docstring(inspect.cleandoc(each.__doc__ or "")) + "\n")
    return "\n".join(parts)


def made_by_users(found: type[Any]) -> bool:
    """Does a user call the class? Objects of others come from methods of the app."""
    plain = not issubclass(found, (BaseModel, Enum, Exception)) and not is_dataclass(found)
    plain = plain and not vars(found).get("_is_protocol")
    by_app = found.__name__ in (
        *("Stream", "Table", "Event", "Events", "NumberedProducer", "SyncApp", "SyncProducer"),
        *("Sent", "Delayed", "Harness"),
    )
    return plain and not by_app and "__init__" in vars(found)


def own(found: type[Any]) -> Iterator[tuple[str, Any]]:
    """The public attributes that Runnel gives a class, each once."""
    seen = set()
    for base in found.__mro__:
        if base.__module__.partition(".")[0] == "runnel":
            for name, each in vars(base).items():
                if not name.startswith(("_", "model_")) and name not in seen:
                    seen.add(name)
                    yield name, each


def methods(found: type[Any]) -> list[tuple[str, Any, str]]:
    """Name, function and kind of each public method and property."""
    made = []
    for name, each in own(found):
        function, kind = each, ""
        if isinstance(each, (classmethod, staticmethod)):
            function, kind = each.__func__, "@classmethod\n"
        elif isinstance(each, property):
            function, kind = each.fget, "@property\n"
        elif isinstance(each, cached_property):
            function, kind = each.func, "@property\n"
        if inspect.isfunction(function) and f"{found.__name__}.{name}" not in INTERNAL:
            made.append((name, function, kind))
    return made


def attributes(found: type[Any]) -> list[tuple[str, str]]:
    """Public attributes that are no methods, with a text if the class itself has none for them."""
    if issubclass(found, Enum):
        return [(each.name, "") for each in found]
    if issubclass(found, BaseModel):
        return [(f"{name}: {_kind(f.annotation)}", "") for name, f in found.model_fields.items()]
    if is_dataclass(found):
        return [(f"{each.name}: {_kind(each.type)}", "") for each in fields(found)]
    if issubclass(found, tuple):
        return [(f"{n}: {_kind(kind)}", "") for n, kind in found.__annotations__.items()]
    listed = []
    for base in found.__mro__:
        if base.__module__.partition(".")[0] == "runnel":
            source = inspect.getsource(base)
            pattern = r"((?:^ +#: .*\n)+) +(?:self\.)?([a-z]\w*)\b *[:=]"
            for comment, name in re.findall(pattern, source, re.M):
                if (found.__name__, name) in HIDDEN:
                    continue
                listed.append((name, prose(" ".join(re.findall(r"#: (.*)", comment)))))
    return listed


def signature(name: str, function: Any, *, kind: str = "", found: bool = False) -> str:
    """How it is called, as code; one parameter a line if it is long."""
    seen = inspect.signature(function)
    first, *_ = [*seen.parameters.values(), None]
    shown = [
        _parameter(each)
        for each in seen.parameters.values()
        if each is not first or each.name not in ("self", "cls")
    ]
    star = next((n for n, p in enumerate(seen.parameters.values()) if p.kind is p.KEYWORD_ONLY), 0)
    has_star = any(p.kind is p.VAR_POSITIONAL for p in seen.parameters.values())
    if star and not has_star:
        shown.insert(star - (1 if first and first.name in ("self", "cls") else 0), "*")
    result = "" if found else f" -> {_kind(seen.return_annotation)}"
    word = "" if found else "async def " if inspect.iscoroutinefunction(function) else "def "
    line = f"{kind}{word}{name}({', '.join(shown)}){result}"
    if kind == "@property\n":
        line = f"{name}: {_kind(seen.return_annotation)}"
    if len(line.splitlines()[-1]) > 88:
        inner = "".join(f"    {each},\n" for each in shown)
        line = f"{kind}{word}{name}(\n{inner}){result}"
    return f"```python\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    mark = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
    made = f"{mark}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        made += f": {_kind(parameter.annotation)}"
    value = parameter.default
    if value is not parameter.empty:
        shown = "…" if type(value) is object else repr(value)
        shown = f"{type(value).__name__}.{value.name}" if isinstance(value, Enum) else shown
        made += f" = {shown}"
    return made


def _kind(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if inspect.isclass(annotation) and "[" not in repr(annotation):
        return annotation.__name__
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(annotation))
