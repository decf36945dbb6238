"""Every public name is exported, documented and typed, and every error can be raised."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import runnel
from runnel import errors, testing
from runnel.errors import RunnelError
from tests.site.api_page import INTERNAL

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "runnel"
GUIDE = (ROOT / "docs/guide.md").read_text()
NAMES = {name: getattr(runnel, name) for name in runnel.__all__} | {
    name: getattr(testing, name) for name in testing.__all__
}
#: Errors that Python's own rules ask for, and those of `dict`, need no word in a docstring.
PLAIN = {"NotImplementedError", "AttributeError", "KeyError"}


def own(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """The public attributes that Runnel gives a class, with those of its own bases."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "runnel":
            for name, each in vars(base).items():
                if not name.startswith("_") and not name.startswith("model_"):
                    yield name, each


def functions() -> Iterator[tuple[str, Any, str]]:
    """Dotted name, function, and the docstring of its class, of each public method."""
    for name, found in NAMES.items():
        for attribute, each in own(found):
            function = each
            if isinstance(each, (classmethod, staticmethod)):
                function = each.__func__
            elif isinstance(each, property):
                function = each.fget
            elif isinstance(each, cached_property):
                function = each.func
            if inspect.isfunction(function):
                yield f"{name}.{attribute}", function, found.__doc__ or ""
        made = not issubclass(found, (BaseModel, Enum)) and not vars(found).get("_is_protocol")
        made = made and not is_dataclass(found)
        if "__init__" in vars(found) and made:
            yield f"{name}.__init__", vars(found)["__init__"], found.__doc__ or ""


FUNCTIONS = {name: (function, of_class) for name, function, of_class in functions()}


def test_a_name_can_be_imported_from_the_package() -> None:
    assert len(NAMES) > 30
    assert "App.on" in FUNCTIONS
    assert "App.processor" in FUNCTIONS
    assert "Stream.send" in FUNCTIONS
    for name, found in NAMES.items():
        assert inspect.isclass(found), name
        assert found.__name__ == name


@pytest.mark.parametrize("name", NAMES)
def test_a_class_is_documented(name: str) -> None:
    doc = vars(NAMES[name]).get("__doc__") or ""
    assert len(doc) > 20
    assert doc.strip().endswith((".", ":", "`")) or "\n" in doc


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_method_is_typed_and_documented(name: str) -> None:
    function, of_class = FUNCTIONS[name]
    signature = inspect.signature(function)
    for each in list(signature.parameters.values())[1:]:
        assert each.annotation is not each.empty, each
    assert signature.return_annotation is not signature.empty
    documented = function.__doc__ or (of_class if name.endswith("__init__") else "")
    assert documented, "no docstring"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_errors_that_a_method_raises_are_documented(name: str) -> None:
    function, of_class = FUNCTIONS[name]
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = {
        each.exc.func.id
        for each in ast.walk(tree)
        if isinstance(each, ast.Raise)
        and isinstance(each.exc, ast.Call)
        and isinstance(each.exc.func, ast.Name)
    }
    missing = {e for e in raised - PLAIN if e not in (function.__doc__ or "") + of_class}
    assert not missing


def test_the_guide_has_each_name_once_in_its_table() -> None:
    _, _, text = GUIDE.partition("## Every name\n")
    rows = re.findall(r"^\| (`.*?) \| .* \| (.*) \|$", text, re.M)
    listed = [name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(listed) == sorted(runnel.__all__)
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", GUIDE, re.M)
    }
    for cell, links in rows:
        found = re.findall(r"\]\(#([\w-]+)\)", links)
        assert found, cell
        assert set(found) <= anchors, cell


def test_the_guide_names_each_public_method() -> None:
    """One that nothing explains is hidden from users."""
    pages = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    hidden = {
        name
        for name in FUNCTIONS
        if not re.search(rf"\b{name.rpartition('.')[2]}\b", pages) and "__" not in name
    }
    assert hidden <= INTERNAL


def test_every_error_can_be_raised() -> None:
    made = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
                made.add(node.exc.id)
            if isinstance(node, ast.Call):
                made.add(ast.unparse(node.func).rpartition(".")[2])
                if isinstance(node.func, ast.Attribute):  # Such as `HandlerExit.of(…)`.
                    made.add(ast.unparse(node.func.value))
    classes = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, BaseException)
    }
    bases = {"RunnelError", "RecordError", "HandlerError", "ProtocolError"}
    by_word = {each.__name__ for each in errors.BY_WORD.values()}
    assert classes - bases - by_word <= made
    for name in classes:
        assert vars(errors)[name].__doc__, name
        assert issubclass(vars(errors)[name], RunnelError) or name in {"InputCutOff", "Doubt"}
