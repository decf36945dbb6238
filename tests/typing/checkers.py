"""Runs the type checkers on a program: mypy and pyright, in their strict modes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Line -> what a checker says about it.
Complaints = dict[int, list[str]]


def mypy(program: Path) -> Complaints:
    """The complaints of mypy about a program that uses this Runnel."""
    options = ["--strict", "--no-incremental", "--follow-imports=silent", "--no-pretty"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *options, program.name],
        cwd=program.parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode in (0, 1), found.stdout + found.stderr
    complaints: Complaints = {}
    for line in found.stdout.splitlines():
        if said := re.fullmatch(rf"{program.name}:(\d+): (?:error|note): (.*)", line):
            complaints.setdefault(int(said[1]), []).append(said[2])
    return complaints


def pyright(program: Path) -> Complaints:
    """The complaints of pyright about a program that uses this Runnel."""
    config = program.parent / "pyrightconfig.json"
    # Of basedpyright, which is pyright with more rules, only the rules of pyright.
    options = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "include": [program.name]}
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
        complaints.setdefault(line, []).append(f"{each['message']} [{each['rule']}]")
    return complaints
