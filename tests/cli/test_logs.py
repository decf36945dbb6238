"""The log of a worker: for people, as JSON, or as the app has configured it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.cli.logs import JSONLines
from tests.cli.conftest import ROOT

APP = """
import logging, logging.config, uuid
from runnel import App, Record
CONFIG = {
    "version": 1,
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "formatters": {"f": {"format": "MINE %(levelname)s %(name)s %(message)s"}},
    "root": {"level": "INFO", "handlers": ["h"]},
}
SETUP
app = App("logs", partition_count=2, rebalance_delay=0.0, retries=0, exception_policy_of="")
class Item(Record):
    key: int
items = app.stream("items", record=Item, partition_by="key")
@app.on(items, exception_policy="ignore")
async def reader(item):
    logging.getLogger("shop").info(
        "got %s", item.key, extra={"key": item.key, "odd": float("nan"), "level": "mine"}
    )
    raise ValueError("boom")
""".replace(', exception_policy_of=""', "")


@pytest.fixture
def work(redis: Redis, redis_url: str, tmp_path: Path) -> Any:
    """Runs a worker over one event, on which its handler fails; returns the lines on stderr."""

    def run(setup: str, *options: str, target: str = "mine:app", url: str = redis_url) -> list[str]:
        (tmp_path / "mine.py").write_text(APP.replace("SETUP", setup))
        env = {**os.environ, "RUNNEL_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
        for command in (
            ["send", "mine:items", '{"key": 1}'],
            ["worker", target, "--burst", "--redis-url", url, *options],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "runnel", *command],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                timeout=60,
            )
        return done.stderr.splitlines()

    return run


@pytest.mark.parametrize(
    "setup",
    ["", "logging.basicConfig(level=20)", "logging.config.dictConfig(CONFIG)"],
    ids=["none", "basic", "dict"],
)
def test_with_json_every_line_is_json_with_its_fields(work: Any, setup: str) -> None:
    lines = [json.loads(each) for each in work(setup, "--log-format", "json")]
    banner, *rest = lines
    assert (banner["app"], banner["processors"]) == ("logs", ["reader"])
    assert banner["message"].startswith("runnel worker ")
    (mine,) = [each for each in rest if each["logger"] == "shop"]
    assert (mine["message"], mine["processor"], mine["key"]) == ("got 1", "reader", 1)
    assert mine["partition"] in (0, 1)
    assert (mine["level"], mine["level_"], mine["odd"]) == ("info", "mine", "nan")
    (failed,) = [each for each in rest if "exception" in each]
    assert "ValueError: boom" in failed["exception"]
    assert (failed["processor"], failed["partition"]) == ("reader", mine["partition"])
    assert all(each["at"].endswith("+00:00") for each in lines)


def test_with_json_an_uncaught_exception_is_json(work: Any) -> None:
    setup = """
import threading
def fail(*_):
    raise RuntimeError("in a thread")
def leave():
    raise SystemExit
class Odd:
    def __repr__(self):
        raise RuntimeError("in repr")
    def __del__(self):
        raise RuntimeError("in del")
for target in (fail, leave):
    thread = threading.Thread(target=target, name=target.__name__)
    thread.start()
    thread.join()
Odd()
"""
    lines = [json.loads(each) for each in work(setup, "--log-format", "json")]
    (thread,) = [each for each in lines if "RuntimeError: in a thread" in str(each)]
    assert (thread["level"], thread["message"]) == ("error", "uncaught in thread fail")
    (ignored,) = [each for each in lines if "RuntimeError: in del" in str(each)]
    assert (ignored["level"], ignored["logger"]) == ("error", "runnel")


def test_with_json_the_last_error_is_json(work: Any) -> None:
    (unreachable,) = work("", "--log-format", "json", url="redis://127.0.0.1:1")
    assert "No Redis at redis://127.0.0.1:1" in json.loads(unreachable)["message"]
    assert (json.loads(unreachable)["level"], json.loads(unreachable)["exit"]) == ("error", 3)
    (unknown,) = work("", "--log-format", "json", target="mine:none")
    assert json.loads(unknown)["exit"] == 2
    lines = [json.loads(each) for each in work("raise RuntimeError(1)", "--log-format", "json")]
    assert "RuntimeError: 1" in lines[0]["message"]
    assert lines[-1]["exit"] == 2


@pytest.mark.parametrize(
    "setup",
    [
        "logging.config.dictConfig(CONFIG)",
        "logging.basicConfig(level=20, format='MINE %(levelname)s %(name)s %(message)s')",
    ],
    ids=["dict", "basic"],
)
def test_the_logging_setup_of_an_app_is_kept_and_gets_lines_of_runnel(
    work: Any, setup: str
) -> None:
    lines = work(setup)
    assert any(each == "MINE INFO shop got 1" for each in lines)
    assert any(each.startswith("MINE ERROR runnel.worker processor reader") for each in lines)
    assert any("now holds" in each for each in lines)
    assert sum("got 1" in each for each in lines) == 1


def test_without_a_setup_the_level_that_the_app_set_counts(work: Any) -> None:
    lines = work("logging.getLogger().setLevel('ERROR')")
    assert not any("got 1" in each or "now holds" in each for each in lines)
    assert any("ValueError: boom" in each for each in lines)


class Raising(dict[str, int]):
    """Raises an exception when it is iterated over or becomes text."""

    def items(self) -> Any:
        raise RuntimeError("items")

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


@pytest.mark.parametrize("odd", [{"extra": {"odd": Raising(a=1)}}, {}], ids=["extra", "argument"])
def test_a_value_whose_text_raises_loses_no_line(odd: dict[str, Any]) -> None:
    record = logging.getLogger("odd").makeRecord(
        "odd", logging.INFO, "", 0, "said %s", () if odd else (Raising(a=1),), None, **odd
    )
    line = json.loads(JSONLines().format(record))
    assert line["message"].startswith("said %s")
    assert line.get("odd", "<Raising>") == "<Raising>"


STRAY = "the environment variable RUNNEL_SESION has no effect"


@pytest.mark.parametrize("setup", ["", "logging.basicConfig(stream=__import__('sys').stdout)"])
def test_an_unknown_variable_is_reported_on_stderr(
    setup: str, work: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNNEL_SESION", "5")
    monkeypatch.setenv("RUNNEL_REDIS_URL", redis_url)
    assert [line for line in work(setup) if STRAY in line] == [
        f"{STRAY}, as there is no such setting; did you mean RUNNEL_SESSION_TIMEOUT?"
    ]
    said = [json.loads(line) for line in work(setup, "--log-format", "json")]
    assert [each["level"] for each in said if STRAY in each["message"]] == ["warning"]
    for arguments in (["inspect", "mine:app", "--json"], ["inspect", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "runnel", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr.count(STRAY) == 1
        assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("on_terminal", "time"),
    [(True, r"\d\d:\d\d:\d\d"), (False, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")],
    ids=["a terminal", "a file"],
)
def test_a_line_has_its_date_unless_it_is_read_at_once(on_terminal: bool, time: str) -> None:
    code = "import logging; from runnel.cli import logs; "
    code += "logs.configure('info', 'text', level_given=False, style_given=False); "
    code += "logging.getLogger('runnel').info('a line')"
    ours, theirs = os.openpty() if on_terminal else os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stderr=theirs,
            check=True,
            timeout=60,
        )
        line = os.read(ours, 1000).decode().strip()
    finally:
        os.close(ours)
        os.close(theirs)
    assert re.fullmatch(f"{time} INFO    a line", line), line
