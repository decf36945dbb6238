"""The server of a session of tests ends with it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runnel.connection.connect import connect_sync
from runnel.errors import ConfigError, ServerError
from runnel.testing import throwaway_server
from runnel.testing.throwaway_server import ThrowawayServer

#: Says where its server is, and then waits to be killed.
PROGRAM = """
import sys, time
from runnel.testing.throwaway_server import ThrowawayServer
with ThrowawayServer() as url:
    print(url, flush=True)
    time.sleep(600)
"""


def gone(url: str) -> bool:
    return not Path(url.removeprefix("unix://")).exists()


def test_it_answers_and_leaves_nothing() -> None:
    with ThrowawayServer() as url, connect_sync(url) as client:
        assert client.ping()
        assert client.config_get("appendonly") == {"appendonly": "no"}
    assert gone(url)
    assert not Path(url.removeprefix("unix://")).parent.exists()


def test_it_ends_when_the_tests_are_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with connect_sync(url) as client:
        server = int(client.info("server")["process_id"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while _runs(server):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Is it there, and not only as a zombie that nobody waits for?"""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_program_that_is_no_server_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNEL_SERVER_BIN", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="RUNNEL_SERVER_BIN"):
        ThrowawayServer()


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throwaway_server, "START", 0.0)
    monkeypatch.setattr(throwaway_server, "_UNTIL_ORPHANED", "exit 1")
    with pytest.raises(ServerError, match="did not start"):
        ThrowawayServer().__enter__()
