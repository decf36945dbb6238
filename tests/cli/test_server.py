"""`runnel server` runs a server in the foreground, or says why it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runnel.connection.connect import connect_sync
from tests.cli.commands import APP, one_sentence
from tests.cli.conftest import ROOT, Run
from tests.servers import Server, free_port


def test_an_embedded_server_that_cannot_start_is_reported(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # The server's data goes where the command is run.
    monkeypatch.setenv("RUNNEL_SERVER_BIN", "/bin/true")
    url = f"unix://{tmp_path}/s.sock"
    done = run("worker", APP, "--embedded", "--redis-url", url)
    assert done.code == 2
    assert "RUNNEL_SERVER_BIN=/bin/true is not a redis-server" in one_sentence(done.stderr)
    done = run("server", "--redis-url", server.url, "--data", str(tmp_path))
    assert done.code == 2
    assert "a server already listens at" in one_sentence(done.stderr)


@contextmanager
def running(url: str, data: Path) -> Iterator[subprocess.Popen[str]]:
    """`runnel server`, once it is ready. It ends on SIGTERM."""
    command = [sys.executable, "-m", "runnel", "server", "--redis-url", url, "--data", str(data)]
    environment = {**os.environ, "RUNNEL_REDIS_URL": "redis://127.0.0.1:1"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            while "Ready to accept connections" not in process.stdout.readline():
                assert process.poll() is None
            yield process
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0


def test_a_server_runs_until_a_signal_and_keeps_its_data(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    with running(url, tmp_path / "data") as process, connect_sync(url) as client:
        assert client.info()["process_id"] == process.pid
        client.set("kept", "yes")
        assert process.stderr is not None
        assert process.stderr.readline() == f"runnel server · {url} · data in {tmp_path}/data\n"
        said = process.stderr.readline()
        assert "RUNNEL_REDIS_URL is redis://127.0.0.1:1 here: other commands with it" in said
    with running(url, tmp_path / "data"), connect_sync(url) as client:
        assert client.get("kept") == b"yes"
