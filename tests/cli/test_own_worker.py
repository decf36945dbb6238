"""A worker in a process of its own: what its start and its end may do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Run

LIFESPAN = """
import asyncio, os, sys, time
from runnel import App, ConfigError
app = App("lifespan", shutdown_timeout=0.5)

@app.task()
async def endless():
    print("begun", flush=True)
    await app.stopping.wait()

@app.{kind}
async def own():
    {code}
"""


SLOW = """
import sys, time
print("importing", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("worker", signal.SIGTERM, 0),
        ("worker", signal.SIGINT, 130),
        ("inspect", signal.SIGINT, 130),
    ],
)
def test_a_signal_while_the_app_is_imported_is_no_error_of_the_app(
    tmp_path: Path, command: str, number: signal.Signals, code: int
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel", command, "slow:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (code, "")


@pytest.mark.parametrize("kind", ["on_startup", "on_shutdown"])
@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("raise OSError('no database')", 1, "function own failed: OSError: no database"),
        ("raise ConfigError('wrong address')", 2, "function own failed: ConfigError: wrong addr"),
        ("sys.exit(7)", 7, "user code ended this worker: sys.exit(7)"),
    ],
)
def test_a_failing_start_or_end_ends_a_worker_with_its_error(
    spawn: Run, tmp_path: Path, kind: str, code: str, exit_code: int, said: str
) -> None:
    text = LIFESPAN.format(kind=kind, code=code).replace("await app.stopping.wait()", "")
    (tmp_path / "own_lifespan.py").write_text(text)
    done = spawn("worker", "own_lifespan:app", "--burst", cwd=tmp_path)
    assert done.code == exit_code, done.stderr
    assert "error: " in done.stderr.splitlines()[-1]
    assert said in done.stderr.splitlines()[-1]
    # A ConfigError of the start is a sentence that says what to change.
    told = exit_code == 7 or (exit_code == 2 and kind == "on_startup")
    assert done.stderr.count("Traceback") == (not told), "in the log, once"
    assert (done.stdout == "") == (kind == "on_startup")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "await asyncio.Event().wait()",
            "cut off, because shutdown_timeout is over: shutdown func",
        ),
        ("time.sleep(300)", "is still running: shutdown function own; the event loop, blocked in"),
    ],
)
def test_an_end_that_hangs_is_named_and_the_process_ends(
    redis_url: str, tmp_path: Path, code: str, said: str
) -> None:
    (tmp_path / "own_lifespan.py").write_text(LIFESPAN.format(kind="on_shutdown", code=code))
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel", "worker", "own_lifespan:app", "--redis-url", redis_url],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said in stderr


def test_what_a_handler_prints_is_there_at_once_and_survives_a_kill(
    redis_url: str, tmp_path: Path
) -> None:
    text = LIFESPAN.format(kind="on_shutdown", code="pass").replace(", flush=True", "")
    (tmp_path / "prints.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel", "worker", "prints:app", "--redis-url", redis_url],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
        finally:
            process.kill()
