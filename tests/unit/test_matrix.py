"""The table of servers is made from reports of pytest, and the one in the docs is complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.matrix import BEGIN, CONNECTION, END, PAGE, ROOT, ROWS, Cell, read, table

INNER = """
import pytest
def test_a(): pass
def test_b(): assert False
@pytest.mark.skip("why not")
@pytest.mark.parametrize("n", [1, 2])
def test_c(n): pass
@pytest.fixture
def broken(): raise ValueError
def test_d(broken): pass
"""


def test_a_cell_counts_what_pytest_reports(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(INNER)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml"]
    subprocess.run([*command, str(report), str(tmp_path)], capture_output=True, check=False)
    cell = read(report.read_text())
    assert (cell.passed, cell.failed, cell.skipped) == (1, 2, {("test_inner.py", "why not"): 2})
    assert str(cell) == "1 passed, 2 skipped, **2 failed**"


def test_the_table_names_what_was_skipped_and_why() -> None:
    cells = {row: Cell(passed=1) for row in ROWS}
    row = next(iter(ROWS))
    cells[row].skipped["a/test_b.py", "why not"] = 3
    said = table({"valkey 9.1.2": cells})
    assert f"| {row} | 1 passed, 3 skipped |\n" in said
    assert f"- {row}: 3 of `a/test_b.py` (why not)\n" in said


def test_the_table_in_the_docs_has_every_row_and_no_failure() -> None:
    said = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in said.splitlines() if "| `" in line]
    assert rows == list(ROWS), "run it again: scripts/matrix --write"
    assert "failed" not in said


def test_a_row_runs_what_is_there() -> None:
    for chosen in ROWS.values():
        for word in chosen:
            assert not word.startswith("tests/") or (ROOT / word).is_dir()
    for file in CONNECTION:
        assert (ROOT / file).is_file()
