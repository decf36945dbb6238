"""Which test is about which of the faults that Runnel is to survive.

A test names the faults that it injects: ``@pytest.mark.fault(4, 21)``. The table in
``docs/reliability.md`` is made of these marks; write it anew with ``python -m tests.fault_table``.
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
    "SIGKILL of a worker in the middle of its work",
    "SIGKILL between the end of a handler and its commit",
    "SIGKILL after a commit whose reply was lost",
    "SIGSTOP for longer than a session, then SIGCONT",
    "SIGSTOP for less than a session",
    "a handler that blocks the event loop",
    "SIGTERM in the middle of work",
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
    "somebody's slow script holds the server up",
    "the server answers BUSY",
    "SCRIPT FLUSH",
    "memory is full",
    "a policy that evicts keys",
    "the server refuses writes for a while",
    "rights are taken away while a worker runs",
    "keys vanish",
    "keys of the wrong type, fields with junk",
    "a log is deleted and begun again with lower ids",
    "a log is trimmed under its reader",
    "single events are deleted ahead of a reader",
    "a consumer group is deleted or moved by hand",
    "a slot moves under load",
    "a master of a cluster is lost",
    "the master with a group's keys is lost, those with the partitions are not",
    "many workers join at once",
    "a member is lost at any step of a rebalance",
    "a member that comes and goes",
    "an event whose handler always fails",
    "an event that kills its worker each time",
    "an entry that cannot be read",
    "very large records",
    "two apps of one name that differ in partition count or hash",
    "two workers under one name",
    "two versions of the protocol in one group",
    "a worker at its limit of memory or open files",
    "a task is cancelled at any await",
)

#: Why there is no test, or what those that there are leave out.
REMARKS = {
    8: "Not injected. Nothing in a worker reads the wall clock but cron tasks, and these ask the "
    "server if an instant is due.",
    9: "The stored times are moved, not the clock.",
    10: "The stored times are moved, not the clock.",
    15: "The log goes back under a client; no server with a wrong clock is promoted.",
    41: "The scripts alone, not a hundred processes.",
    47: "The producer's limit; not what a reader does with an entry that others made larger.",
    50: "What is newer is refused. There are no two versions yet that could work together.",
    51: "Not injected. A worker that dies of it is a killed worker.",
    52: "A send that is cancelled; not each await of a worker.",
}


def marks(path: Path) -> Iterator[tuple[str, list[int]]]:
    """The tests of a file that name faults."""
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
    """The table as it should be in the docs."""
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
