"""Targets whose import fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_an_app_whose_import_fails_shows_where(spawn: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import runnel\nraise RuntimeError('no config here')\n")
    done = spawn("worker", "broken:app", cwd=tmp_path)
    assert done.code == 2
    assert 'broken.py", line 2' in done.stderr
    assert done.stderr.endswith("error: importing broken failed, see above\n")


@pytest.mark.parametrize(
    ("exit", "code"), [("'no key'", 1), ("", 2), ("0", 2), ("7", 7)], ids=["text", "", "0", "7"]
)
def test_an_app_whose_import_ends_the_program_is_reported(
    spawn: Run, tmp_path: Path, exit: str, code: int
) -> None:
    (tmp_path / "script.py").write_text(f"import sys\nsys.exit({exit})\n")
    done = spawn("worker", "script:app", cwd=tmp_path)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr == f"error: importing script ended with sys.exit({exit or None})\n"
    done = spawn("worker", "script:app", "--log-format", "json", cwd=tmp_path)
    assert json.loads(done.stderr)["exit"] == code
