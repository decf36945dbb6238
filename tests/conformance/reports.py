"""Runs the runners of other languages, and reads what they report."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from runnel.protocol.scripts import folder
from tests.conformance.runner import Connection, Runner, Wrong, cases_of
from tests.servers import Server

FOLDER = folder()
CASES = {
    name: steps
    for file in ("transcripts", "scenarios")
    for name, steps in cases_of(FOLDER / f"conformance/{file}.jsonl").items()
}
_LINE = re.compile(r"^(ok|not ok) \d+ - (.+)\n((?:(?!ok|not ok|1\.\.).*\n)*)", re.M)
#: A runner: the server, the folder of the scripts, and the one case to run, or an empty text for
#: all. Returns for each case that it ran what is wrong, or an empty text.
Report = Callable[[Server, Path, str], dict[str, str]]


def _clean(server: Server) -> None:
    with server.client() as client:
        client.flushall()


def _tap(command: list[str]) -> dict[str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    found = {
        name: "" if word == "ok" else more or "failed"
        for word, name, more in _LINE.findall(done.stdout)
    }
    expected = 1 if any(found.values()) else 0
    assert done.returncode == expected, done.stdout + done.stderr
    return found


def python(server: Server, lua: Path, only: str) -> dict[str, str]:
    """The runner of these tests."""
    found = {}
    with Connection("127.0.0.1", server.port) as connection:
        runner = Runner(connection, lua)
        for name in [only] if only else CASES:
            try:
                runner.run(CASES[name])
            except Wrong as error:
                found[name] = str(error)
            else:
                found[name] = ""
    return found


def shell(server: Server, lua: Path, only: str) -> dict[str, str]:
    """``lua/conformance/run.sh``."""
    _clean(server)
    selected = ["--only", only] if only else []
    return _tap([str(lua / "conformance/run.sh"), *selected, "127.0.0.1", str(server.port)])


def node(server: Server, lua: Path, only: str) -> dict[str, str]:
    """``lua/conformance/run.mjs``."""
    _clean(server)
    options = [f"--test-name-pattern=^{re.escape(only)}$"] if only else []
    program = [str(lua / "conformance/run.mjs"), "127.0.0.1", str(server.port)]
    found = _tap(["node", "--test-reporter=tap", *options, *program])
    return {only: found[only]} if only else found


RUNNERS: dict[str, Report] = {"python": python, "shell": shell, "node": node}
#: What a runner needs.
PROGRAMS = {"python": "python3", "shell": "redis-cli", "node": "node"}


def missing(runner: str) -> str | None:
    """The program that this machine lacks, if any."""
    return None if shutil.which(PROGRAMS[runner]) else PROGRAMS[runner]
