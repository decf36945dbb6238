"""A report arrives completely, or the command ends with an error."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis as SyncRedis

from tests.cli.conftest import ROOT, Run

COMMAND = [sys.executable, "-m", "runnel", "inspect", "--json"]
#: Enough partitions that their report is larger than any pipe.
MANY = 1000


@pytest.fixture
def many(redis_url: str, run: Run) -> str:
    """A server on which a processor with many partitions is registered."""
    with SyncRedis.from_url(redis_url) as admin:
        admin.sadd("runnel:apps", "large")
        admin.hset("runnel:{large}:streams", "orders", f"{MANY} orders")
        admin.hset("runnel:{large}:processors", "orders@printer", str(MANY))
    return redis_url


def started(url: str, stdout: int) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "--redis-url", url]
    return subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_large_report_is_written_completely_to_a_pipe(many: str, blocking: bool) -> None:
    """The pipe is narrow, and its reader is slow: it is full most of the time."""
    reader, writer = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, blocking)
    process = started(many, writer)
    os.close(writer)
    output = b""
    while piece := os.read(reader, 10_000):
        output += piece
        time.sleep(0.001)
    os.close(reader)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, b"")
    assert len(json.loads(output)["processors"][0]["partitions"]) == MANY


@pytest.mark.parametrize("blocking", [True, False])
def test_a_report_whose_reader_leaves_in_the_middle_is_an_error(many: str, blocking: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    process = started(many, writer)
    os.close(writer)
    assert os.read(reader, 10)
    os.close(reader)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_report_on_a_full_disk_is_an_error(many: str) -> None:
    with open("/dev/full", "wb") as full:
        process = started(many, full.fileno())
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.startswith(b"error: only 0 of ")
    assert b" bytes were written to stdout: No space left on device" in said


def test_a_closed_stdout_is_an_error(many: str) -> None:
    command = f'exec "$0" -m runnel inspect --json --redis-url {many} >&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        b"error: stdout is closed: nothing could be written\n",
    )
