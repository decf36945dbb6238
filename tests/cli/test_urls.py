"""Which URL of Redis a command uses, and how messages name its origin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import GOOD, ROOT, Run
from tests.servers import free_port

APP = """
from runnel import App, Record
class E(Record):
    k: int
app = App("a"{keyword})
s = app.stream("s", record=E, partition_by="k")
@app.on(s)
def p(record):
    pass
"""


def make(folder: Path, keyword: str = "") -> None:
    """An app in a module of its own."""
    (folder / "mine.py").write_text(APP.replace("{keyword}", keyword))


def start(folder: Path, environment: str | None, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command, with the given RUNNEL_REDIS_URL, or with none."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("RUNNEL_REDIS_URL", None)
    if environment is not None:
        env["RUNNEL_REDIS_URL"] = environment
    command = [sys.executable, "-m", "runnel", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("code", "environment", "option", "said"),
    [
        ("dead", None, None, ", as App(redis_url=…) in the code says."),
        ("dead", "other", None, ", as App(redis_url=…) in the code, which goes before RUNNEL_RED"),
        (None, "dead", None, ", as RUNNEL_REDIS_URL in the environment says."),
        ("other", "other", "dead", ", as --redis-url says."),
        (None, None, "dead", ", as --redis-url says."),
    ],
)
def test_the_origin_of_the_url_is_named(
    tmp_path: Path, code: str | None, environment: str | None, option: str | None, said: str
) -> None:
    urls = {name: f"redis://127.0.0.1:{free_port()}" for name in ("dead", "other")}
    make(tmp_path, f', redis_url="{urls[code]}"' if code else "")
    arguments = ["--redis-url", urls[option]] if option else []
    for command in (
        ["worker", "mine:app"],
        ["send", "mine:s", '{"k": 1}'],
        ["inspect", "mine:app"],
    ):
        where = urls[environment] if environment else None
        ended, stderr = start(tmp_path, where, *command, *arguments)
        assert ended == 3
        assert f"No Redis at {urls['dead']}{said}" in stderr
        assert "Start it again the way it was started, with its own data" in stderr


@pytest.mark.parametrize(("url", "problem"), [("", "is empty"), (" ", "is blank")])
def test_an_empty_variable_is_named(spawn: Run, tmp_path: Path, url: str, problem: str) -> None:
    make(tmp_path)
    for command in (
        ["worker", "mine:app"],
        ["send", "mine:s", '{"k": 1}'],
        ["inspect"],
        ["processor", "remove", "s@p", "--app", "a", "--yes"],
    ):
        done = spawn(*command, cwd=tmp_path, url=url)
        assert done.code == 2
        assert f"RUNNEL_REDIS_URL {problem}: unset it" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["", " ", "redis://u:SECRET", "h:1,password=SECRET,ssl=True"])
@pytest.mark.parametrize(
    "command",
    [
        ["worker", "tests.cli.shop:app"],
        ["send", "tests.cli.shop:orders", GOOD],
        ["sendmany", "tests.cli.shop:orders", "-"],
        ["inspect"],
        ["processor", "pause", "tests.cli.shop:printer"],
        ["stream", "delete", "tests.cli.shop:orders", "--yes"],
    ],
    ids=" ".join,
)
def test_an_option_that_is_no_url_is_refused(run: Run, command: list[str], url: str) -> None:
    done = run(*command, "--redis-url", url)
    assert done.code == 2
    assert done.stderr.startswith("error: --redis-url: redis_url ")
    assert done.stderr.count("\n") == 1
    assert "SECRET" not in done.stderr
