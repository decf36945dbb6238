"""Imports run one way, and each thing is done in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "runnel"

#: Bottom to top. A module may import from its own row only what stands left of it.
LAYERS = [
    ["cancelling", "errors", "in_hand", "line", "log", "loops", "url"],
    ["once", "told", "wire"],
    [
        "keys",
        "serializers",
        "compressors",
        "partitioning",
        "address",
        "sentinels",
        "session",
        "turn",
        "gate",
        "watch",
        "core.ids",
        "ranges",
        "threads",
    ],
    ["durability"],
    ["deployment"],
    ["cluster", "scripts"],
    ["together"],
    ["trouble"],
    ["check"],
    ["connection"],
    ["record.plain", "record.problems", "record.schema", "record.members"],
    ["record.same", "record.native", "record.unknown"],
    ["record.certain", "record.checks", "record.culprit", "record.face"],
    ["record.models", "record.structs"],
    ["protocol", "record", "settings", "server_program", "tasks"],
    ["figures"],
    ["core", "core.suspicion", "core.membership", "embedded", "entry"],
    ["core.appetite", "core.lane"],
    ["dead_letter", "stream", "lease", "chain", "event"],
    ["handing"],
    ["iterators"],
    ["events"],
    ["outlet"],
    ["handlers", "middleware", "producer", "report", "rights"],
    ["processor", "signatures"],
    ["declaring"],
    ["removing", "skipping"],
    ["app", "admin", "recall", "registry"],
    ["preflight"],
    ["worker.unanswered"],
    [
        "worker",
        "worker.ending",
        "worker.voucher",
        "worker.feeds",
        "worker.gathering",
        "worker.stuck",
        "worker.forks",
        "worker.moves",
        "worker.losses",
        "worker.reminder",
        "worker.signals",
    ],
    ["worker.link"],
    ["worker.leadership", "worker.leaving", "worker.shutdown"],
    ["worker.committing", "worker.reading"],
    ["worker.calendar", "worker.claims", "worker.pump", "worker.handling"],
    ["worker.runner"],
    ["worker.group"],
    ["worker.worker"],
    ["cli.exits"],
    [
        "cli.letters",
        "cli.logs",
        "cli.lines",
        "cli.numbers",
        "cli.output",
        "cli.screen",
        "cli.tables",
    ],
    ["cli.view"],
    ["cli.running", "cli.target", "cli.urls"],
    [
        "cli.demo",
        "cli.inspect",
        "cli.processor",
        "cli.send",
        "cli.server",
        "cli.stream",
        "cli.worker",
    ],
    ["cli"],
    ["__main__"],
]
RANK = {name: row for row, names in enumerate(LAYERS) for name in names}


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    found.pop("__init__")
    return found


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, functions' own imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            package = node.module.removeprefix("runnel").removeprefix(".")
            if node.module.split(".")[0] != "runnel":
                continue
            for alias in node.names:
                inner = f"{package}.{alias.name}".removeprefix(".")
                found.add(inner if inner in RANK else package)
    return found


def test_every_module_has_its_layer() -> None:
    assert set(modules()) == set(RANK)


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_layers_below(name: str) -> None:
    upward = {each for each in imports(modules()[name]) if RANK[each] >= RANK[name]}
    assert not upward


#: Modules that are longer than 350 lines, and are to be split.
LONG = {"protocol", "worker.group"}


def test_a_module_and_a_function_can_be_read_at_one_sitting() -> None:
    texts = {name: path.read_text() for name, path in modules().items()}
    assert {name for name, text in texts.items() if text.count("\n") > 350} == LONG
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, f"{name}.{node.name}"


def test_nobody_hides_an_import_from_the_type_checker() -> None:
    assert not [n for n, path in modules().items() if "TYPE_CHECKING" in path.read_text()]


def test_only_one_module_sends_scripts_and_one_builds_keys() -> None:
    evalsha = {name for name, path in modules().items() if '"EVALSHA"' in path.read_text()}
    keys = {name for name, path in modules().items() if '"runnel:' in path.read_text()}
    assert evalsha == {"scripts"}
    assert keys == {"keys"}


def test_the_core_does_no_io_and_reads_no_clock() -> None:
    for name, path in modules().items():
        if name.startswith("core"):
            source = path.read_text()
            assert not any(f"import {each}" in source for each in ("asyncio", "time", "redis"))
