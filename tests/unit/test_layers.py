"""Imports run one way, and each thing is done in one place."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "runnel"

#: Bottom to top: packages, and modules that stand by themselves. Each imports only from rows below.
ROOMS = [
    ["durations", "errors", "log", "middleware"],
    ["delayed", "keys", "observer", "record", "tasks"],
    ["codec", "connection", "dead_letter"],
    ["embedded", "protocol", "settings"],
    ["core"],
    ["current_event", "retention"],
    ["background", "stream_spec"],
    ["stream"],
    ["delivery", "event", "table_reader"],
    ["events", "producer", "table"],
    ["handlers", "sync_app"],
    ["lifespan", "processor"],
    ["declaration", "harness"],
    ["app_lifespan"],
    ["app"],
    ["preflight"],
    ["operations"],
    ["metrics", "otel"],
    ["worker"],
    ["testing"],
    ["sidecar"],
    ["conformance"],
    ["cli", "pytest_plugin"],
    ["__main__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
#: Modules without behaviour of their own.
WITHOUT_TESTS = {"__main__", "durations", "worker.callbacks"}
MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 60


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    found.pop("__init__")
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Modules of the package that a module imports, in its functions too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "runnel":
            continue
        assert node.module
        package = node.module.removeprefix("runnel").removeprefix(".")
        for alias in node.names:
            inner = f"{package}.{alias.name}".removeprefix(".")
            found.add(inner if inner in MODULES else package)
    return found


def room(name: str) -> str:
    """The package of a module, or the module itself."""
    return name.split(".")[0]


def test_every_package_has_its_row() -> None:
    assert {room(name) for name in MODULES} == set(FLOOR)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_from_rows_below(name: str) -> None:
    others = {each for each in imports(name) if room(each) != room(name)}
    assert not {each for each in others if FLOOR[room(each)] >= FLOOR[room(name)]}


def test_no_package_has_an_import_cycle() -> None:
    graph = {name: {each for each in imports(name) if room(each) == room(name)} for name in MODULES}
    while ends := {name for name, targets in graph.items() if not targets}:
        graph = {name: targets - ends for name, targets in graph.items() if name not in ends}
    assert not graph


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_and_functions_have_limited_length(name: str) -> None:
    text = MODULES[name].read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_LINES_OF_A_FUNCTION, node.name


def test_no_import_is_hidden_from_the_type_checker() -> None:
    assert not [n for n, path in MODULES.items() if "TYPE_CHECKING" in path.read_text()]


def test_only_one_module_sends_scripts_and_one_builds_keys() -> None:
    evalsha = {name for name, path in MODULES.items() if '"EVALSHA"' in path.read_text()}
    keys = {name for name, path in MODULES.items() if '"runnel:' in path.read_text()}
    # `wire` sends none: it recognises those that a client under test sends.
    assert evalsha == {"protocol.scripts", "conformance.wire"}
    assert keys == {"keys"}


def test_the_core_does_no_io_and_reads_no_clock() -> None:
    for name, path in MODULES.items():
        if room(name) == "core":
            source = path.read_text()
            assert not any(f"import {each}" in source for each in ("asyncio", "time", "redis"))


def test_the_tests_of_a_module_are_found_by_its_name() -> None:
    """A name that two packages have, such as `processor`, has a file of tests for each."""
    files = Counter(path.stem for path in PACKAGE.parent.glob("tests/*/test_*.py"))
    names = Counter(
        path.stem
        for name, path in MODULES.items()
        if path.name != "__init__.py" and name not in WITHOUT_TESTS
    )
    assert not {name for name, number in names.items() if files[f"test_{name}"] < number}
