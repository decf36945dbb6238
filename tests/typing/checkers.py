"""Runs the type checkers on a program: mypy and pyright, in their strict modes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: File and line -> what a checker says about it.
Complaints = dict[tuple[str, int], list[str]]


def mypy(folder: Path) -> Complaints:
    """The complaints of mypy about the programs in a folder, which use this Runnel."""
    options = ["--strict", "--no-incremental", "--follow-imports=silent", "--no-pretty"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *options, "."],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode in (0, 1), found.stdout + found.stderr
    complaints: Complaints = {}
    for line in found.stdout.splitlines():
        if said := re.fullmatch(r"(\w+\.py):(\d+): (?:error|note): (.*)", line):
            complaints.setdefault((said[1], int(said[2])), []).append(said[3])
    return complaints


def pyright(folder: Path) -> Complaints:
    """The complaints of pyright about the programs in a folder, which use this Runnel."""
    config = folder / "pyrightconfig.json"
    # Of basedpyright, which is pyright with more rules, only the rules of pyright.
    options = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    config.write_text(json.dumps(options))
    found = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--project", config],
        capture_output=True,
        text=True,
    )
    assert found.returncode in (0, 1), found.stdout + found.stderr
    complaints: Complaints = {}
    for each in json.loads(found.stdout)["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        complaints.setdefault((Path(each["file"]).name, line), []).append(
            f"{each['message']} [{each['rule']}]"
        )
    return complaints
