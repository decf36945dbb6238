"""The worker command: how it ends, by a signal and in a burst."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import APP, ORDERS, PRINTER
from tests.cli.conftest import GOOD, ROOT, Run


def test_a_worker_ends_well_on_ctrl_c(run: Run, redis_url: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel", "worker", APP, "--redis-url", redis_url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        while b"claimed" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, b"")
    assert b"Traceback" not in stderr


def test_send_prints_partition_and_id_and_a_burst_processes_it(spawn: Run) -> None:
    sent = spawn("send", ORDERS, GOOD)
    assert sent.code == 0, sent.stderr
    partition, id_ = sent.stdout.split()
    assert partition.isdigit()
    assert "-" in id_
    as_json = spawn("send", ORDERS, GOOD, "--json")
    assert json.loads(as_json.stdout)["partition"] == int(partition)
    worker = spawn("worker", APP, "--burst")
    assert (worker.code, worker.stdout) == (0, "99\n99\n"), worker.stderr
    assert "app shop" in worker.stderr


def test_a_burst_that_is_blocked_names_the_partitions_and_the_command(run: Run, spawn: Run) -> None:
    app, command = "tests.cli.shop:app", ("worker", "tests.cli.shop:app", "--burst")
    for key in range(8):
        run("send", ORDERS, GOOD.replace("1,", f"{key},", 1))
    run("processor", "add", PRINTER)
    run("processor", "pause", PRINTER, "--partition", "1-2")
    blocked = spawn(*command, "--processors", "printer")
    assert blocked.code == 11
    said = blocked.stderr.strip().splitlines()[-1]
    assert said.startswith("error: processor printer: partition")
    assert "paused: `runnel processor resume tests.cli.shop:printer --partition" in said
    ended = said.split("`")[1].removeprefix("runnel ").split()
    assert run(*ended).stdout.startswith("resumed ")
    assert spawn(*command, "--processors", "printer").code == 0
    run("processor", "resume", PRINTER)
    nothing = run("processor", "resume", PRINTER)
    expected = "resumed 0 partitions of printer: none of them is paused or quarantined\n"
    assert nothing.stdout == expected
    assert run("inspect", app, "--fail-on", "paused").code == 0


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
    assert done.stderr.count("Traceback") == (exit_code != 7), "in the log, once"
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
