"""Generates the table of faults in docs/reliability.md, with the tests that inject each fault.

A test names the faults that it injects: ``@pytest.mark.fault(4, 21)``. The table in
``docs/reliability.md`` is generated from these marks: run ``python -m tests.fault_table``.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end of faults -->\n"

FAULTS = (
    "SIGKILL of a worker while it works",
    "SIGKILL between the end of a handler and its commit",
    "SIGKILL after a commit whose reply was lost",
    "SIGSTOP for longer than a session, then SIGCONT",
    "SIGSTOP for less than a session",
    "a handler that blocks the event loop",
    "SIGTERM while a worker works",
    "a worker's clock that is wrong or jumps",
    "the server's clock jumps ahead",
    "the server's clock jumps back",
    "SIGKILL of the server, which comes back with its append-only file",
    "the server comes back with an older state",
    "a failover that loses the last commits",
    "a failover that loses the last claim",
    "a failover to a clock that is behind",
    "a primary that was replaced and does not know it yet",
    "a planned failover",
    "the reply to a call is lost",
    "a call is lost",
    "a commit arrives twice",
    "a commit arrives after the next claim",
    "a worker is cut off, both ways or one",
    "a connection that is open and dead",
    "a slow link",
    "a slow script of another client blocks the server",
    "the server answers BUSY",
    "SCRIPT FLUSH",
    "memory is full",
    "a policy that evicts keys",
    "the server refuses writes for a while",
    "permissions are revoked while a worker runs",
    "keys disappear",
    "keys of the wrong type, fields with junk",
    "a log is deleted and started again with lower ids",
    "a log is trimmed while it is read",
    "single events are deleted ahead of a reader",
    "a consumer group is deleted or moved by hand",
    "a slot moves under load",
    "a master of a cluster is lost",
    "the master with a group's keys is lost, those with the partitions are not",
    "many workers join at once",
    "a member is lost at any step of a rebalance",
    "a member that joins and leaves again and again",
    "an event whose handler always fails",
    "an event that kills its worker each time",
    "an entry that cannot be read",
    "very large records",
    "two apps with the same name but another partition count or hash",
    "two workers with the same member id",
    "two versions of the protocol in one group",
    "a worker that reaches its limit of memory or open files",
    "a task is cancelled at any await",
)

#: Why a fault has no test, or what its tests do not cover.
REMARKS = {
    8: "Not injected. Only cron tasks read a worker's wall clock, and they ask the server whether "
    "an instant is due.",
    9: "The stored times are moved, not the clock.",
    10: "The stored times are moved, not the clock.",
    15: "The log returns to an older state while a client uses it; no server with a wrong clock is "
    "promoted.",
    41: "The scripts alone, not a hundred processes.",
    47: "The producer's limit; not an entry that another program wrote larger.",
    50: "A newer version is refused. There are not yet two versions that could work together.",
    51: "Not injected. A worker that dies of it is like a killed worker.",
    52: "A send that is cancelled; not every await of a worker.",
}


def marks(path: Path) -> Iterator[tuple[str, list[int]]]:
    """The tests of a file that name faults, with the numbers of the faults."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    yield node.name, [ast.literal_eval(each) for each in mark.args]


def covering() -> dict[int, list[str]]:
    """Number of a fault -> the tests that inject it, as ``file::name``."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, numbers in marks(path):
            for number in numbers:
                found[number].append(f"{path.relative_to(ROOT / 'tests')}::{name}")
    return dict(found)


def table() -> str:
    """The table that the page must contain."""
    tests = covering()
    lines = ["| | fault | tests |", "| --- | --- | --- |"]
    for number, fault in enumerate(FAULTS, 1):
        cell = "<br>".join(f"`{each}`" for each in tests.get(number, []))
        cell = " ".join(filter(None, (cell, REMARKS.get(number))))
        lines.append(f"| {number} | {fault} | {cell} |")
    return "\n".join(lines) + "\n"


def write() -> None:
    """Put the table into the page."""
    head, rest = PAGE.read_text().split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(head + BEGIN + table() + END + tail)


if __name__ == "__main__":
    write()
