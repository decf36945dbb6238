"""CONTRIBUTING is one page, and the commands and files that it names exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CONSOLE = "".join(re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S))
COMMANDS = re.findall(r"^\$ (.*?)(?: +#.*)?$", CONSOLE, re.M)
PROSE = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
TESTS = [command for command in COMMANDS if " pytest " in command]
TOOL = ".venv/bin/"


def first_words() -> set[str]:
    """The first word of every command and code span of the page."""
    spans = re.findall(r"`([^`]+)`", PROSE)
    return {text.split()[0] for text in (*COMMANDS, *spans)}


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= 70


def test_the_files_that_it_names_exist() -> None:
    named = {word for word in first_words() if "/" in word and not word.startswith(TOOL)}
    row = next(line for line in PROSE.splitlines() if line.startswith("| `runnel` |"))
    named |= {f"runnel/{name}" for name in re.findall(r"`(\w+\.py)`", row)}
    assert len(named) > 20
    assert not {path for path in named if not (ROOT / path).exists()}


def test_the_tools_that_it_runs_are_installed() -> None:
    tools = {word.removeprefix(TOOL) for word in first_words() if word.startswith(TOOL)}
    assert tools == {"python", "pre-commit"}
    assert not {tool for tool in tools if not (Path(sys.executable).parent / tool).exists()}


def test_every_folder_of_tests_and_every_script_is_named() -> None:
    words = first_words()
    folders = {f"tests/{path.parent.name}" for path in ROOT.glob("tests/*/__init__.py")}
    assert folders <= set(re.findall(r"`(tests/\w+)`", PROSE))
    helpers = {"bootstrap", "docker-images", "start-docker"}
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file()} - helpers
    assert not {name for name in scripts if f"scripts/{name}" not in words}


@pytest.mark.parametrize("command", TESTS)
def test_the_tests_that_it_runs_pass(command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == f"{TOOL}python"
    run = [sys.executable, *arguments, "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
