"""Runs the tests on every server program of this machine and every kind of deployment.

``scripts/matrix`` prints what ran as a table; ``scripts/matrix --write`` puts it into
``docs/reliability.md`` too. ``scripts/matrix --redis-py`` runs instead the tests of the connection
with the oldest and the newest redis-py that ``pyproject.toml`` allows.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import redis

from tests.servers import available_servers

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- servers -->\n", "<!-- end of servers -->\n"

#: Name of a row -> its arguments for pytest.
ROWS = {
    "`integration` on one server": ("tests/integration",),
    "`worker` on one server": ("tests/worker",),
    "`cli` on one server": ("tests/cli",),
    "`lua` on one server and on a cluster of one node": ("tests/lua",),
    "`contracts` on one server": ("tests/contracts",),
    "`integration` and `worker` behind sentinels": (
        *("--deployment", "sentinel"),
        *("tests/integration", "tests/worker"),
    ),
    "`integration` and `worker` on three masters": (
        *("--deployment", "cluster"),
        *("tests/integration", "tests/worker"),
    ),
    "`deployments`: failovers, moving slots, TLS, permissions": ("tests/deployments",),
}


#: The tests that run with each version of redis-py.
CONNECTION = (
    "tests/unit/test_redis_internals.py",
    "tests/unit/test_transport.py",
    "tests/unit/test_url.py",
    "tests/unit/test_explain.py",
    "tests/integration/test_connect.py",
    "tests/integration/test_redis_client.py",
    "tests/integration/test_server.py",
)


@dataclass
class Cell:
    """The results of the tests of one row on one server."""

    passed: int = 0
    failed: int = 0
    #: File and reason -> how many tests.
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        skipped = self.skipped.total()
        parts = [f"{self.passed} passed"]
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"**{self.failed} failed**"] if self.failed else []
        return ", ".join(parts)


def read(report: str) -> Cell:
    """The results in a JUnit report of pytest."""
    cell = Cell()
    for case in ElementTree.fromstring(report).iter("testcase"):
        skip = case.find("skipped")
        if skip is not None:
            file = case.get("classname", "").removeprefix("tests.").replace(".", "/")
            cell.skipped[f"{file}.py", skip.get("message", "")] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            cell.failed += 1
        else:
            cell.passed += 1
    return cell


def run(chosen: Sequence[str], **environment: str) -> Cell:
    """Run tests with these environment variables. Prints the output of pytest if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        completed = subprocess.run(
            [*command, "--junitxml", str(report), *chosen],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        cell = read(report.read_text()) if report.exists() else Cell(failed=1)
    if completed.returncode:
        print(completed.stdout, completed.stderr, file=sys.stderr)
        cell.failed = cell.failed or 1
    return cell


def table(columns: dict[str, dict[str, Cell]]) -> str:
    """The table, followed by the skipped tests and the reasons."""
    lines = [
        f"| | {' | '.join(columns)} |",
        f"| --- {'| --- ' * len(columns)}|",
        *(
            f"| {row} | {' | '.join(str(cells[row]) for cells in columns.values())} |"
            for row in ROWS
        ),
        "",
        f"Ran on {datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, redis-py {redis.__version__}.",
    ]
    skipped: dict[tuple[str, str, str], int] = {}
    for cells in columns.values():
        for row, cell in cells.items():
            for (file, why), number in cell.skipped.items():
                key = (row, file, why)
                skipped[key] = max(number, skipped.get(key, 0))
    if skipped:
        lines += ["", "Skipped on one server or more:", ""]
        lines += [f"- {row}: {n} of `{file}` ({why})" for (row, file, why), n in skipped.items()]
    return "\n".join(lines) + "\n"


def write(text: str) -> None:
    """Put the table into the page."""
    head, rest = PAGE.read_text().split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(head + BEGIN + text + END + tail)


def redis_versions() -> tuple[str, str]:
    """The oldest redis-py that pyproject.toml allows, and the first version that is too new."""
    found = re.search(r'"redis\[hiredis\]>=([\d.]+),<(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert found, "pyproject.toml does not say which versions of redis-py it allows"
    return found[1], found[2]


def with_each_redis_py() -> int:
    """Run the tests of the connection with the oldest and the newest redis-py; 0 if all passed.

    pip installs each into a folder that comes before the installed packages.
    """
    oldest, upper_bound = redis_versions()
    failed = 0
    for version in (f"=={oldest}", f">={oldest},<{upper_bound}"):
        with tempfile.TemporaryDirectory() as folder:
            install = [sys.executable, "-m", "pip", "install", "-q", "--target", folder]
            subprocess.run([*install, f"redis[hiredis]{version}"], check=True)
            code = "import redis; print(redis.__version__)"
            environment = {**os.environ, "PYTHONPATH": folder}
            command = [sys.executable, "-c", code]
            found = subprocess.run(command, env=environment, capture_output=True, check=True)
            cell = run(CONNECTION, PYTHONPATH=folder)
        print(f"redis-py {found.stdout.decode().strip()}: {cell}", flush=True)
        failed += cell.failed
    return int(failed > 0)


def main() -> int:
    """Run everything; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="scripts/matrix", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the docs too")
    parser.add_argument(
        "--redis-py", action="store_true", help="with the oldest and the newest redis-py instead"
    )
    options = parser.parse_args()
    if options.redis_py:
        return with_each_redis_py()
    columns: dict[str, dict[str, Cell]] = {}
    for binary in available_servers():
        cells = columns[str(binary)] = {}
        for row, chosen in ROWS.items():
            cells[row] = run(chosen, RUNNEL_SERVER_BIN=str(binary.path))
            print(f"{binary}, {row}: {cells[row]}", file=sys.stderr, flush=True)
    text = table(columns)
    print(text, end="")
    if options.write:
        write(text)
    return int(any(cell.failed for cells in columns.values() for cell in cells.values()))


if __name__ == "__main__":
    sys.exit(main())
