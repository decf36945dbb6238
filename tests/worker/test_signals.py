"""A program may ask its worker to end on signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import App, ConfigError
from tests.worker.workers import ROOT

PROGRAM = """
import asyncio, sys
from runnel import App, Record

app = App("program")

@app.on_startup
async def begun():
    print("begun", flush=True)

@app.on_shutdown
async def ending():
    print("ending", flush=True)
    await asyncio.sleep(float(sys.argv[1]))

asyncio.run(app.run(signals=True))
print("ended", flush=True)
"""


def start(tmp_path: Path, url: str, seconds: float) -> subprocess.Popen[str]:
    """The program, whose shutdown takes so many seconds, once it has begun."""
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", str(seconds)],
        env={**os.environ, "RUNNEL_REDIS_URL": url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_and_the_program_goes_on(
    redis: Redis, redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    with start(tmp_path, redis_url, 0) as process:
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, "ending\nended\n", "")


def test_a_second_signal_does_what_it_does_without_a_worker(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    with start(tmp_path, redis_url, 300) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM


async def test_signals_are_for_the_main_thread() -> None:
    with pytest.raises(ConfigError, match="main thread only"):
        await asyncio.to_thread(asyncio.run, App("shop").run(signals=True))
