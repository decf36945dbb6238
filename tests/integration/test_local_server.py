"""A local server is started once, shared by processes, and outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runnel.connection.connect import connect_sync
from runnel.embedded import local_server
from runnel.errors import ConfigError, ServerError
from tests.servers import Server, free_port

START = """
import sys
from pathlib import Path
from runnel.embedded.local_server import start
print("ready", flush=True)
sys.stdin.readline()
print(start(sys.argv[1], Path(sys.argv[2])).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder; its server, if any, is killed after the test."""
    folder = tmp_path / "data"
    yield folder
    with contextlib.suppress(OSError):
        os.kill(_pid(folder), signal.SIGKILL)


@pytest.fixture
def url() -> str:
    """An address at which nothing listens."""
    return f"redis://127.0.0.1:{free_port()}/0"


def _pid(data_dir: Path) -> int:
    return int((data_dir / "server.pid").read_text())


def _starter(url: str, data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, url, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _release(starter: subprocess.Popen[str]) -> None:
    assert starter.stdin is not None
    starter.stdin.write("go\n")
    starter.stdin.flush()


def _read_line(starter: subprocess.Popen[str]) -> str:
    assert starter.stdout is not None
    return starter.stdout.readline().strip()


def _kill(pid: int, url: str) -> None:
    """Kill a server that is not a child of this process, and wait until its port is closed."""
    os.kill(pid, signal.SIGKILL)
    address = ("127.0.0.1", int(url.rpartition(":")[2].removesuffix("/0")))
    with contextlib.suppress(OSError):
        while True:
            socket.create_connection(address, timeout=1).close()


def test_processes_that_race_share_one_server_which_outlives_them(url: str, data_dir: Path) -> None:
    racers = [_starter(url, data_dir) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for racer in racers:
            stack.enter_context(racer)
        assert [_read_line(racer) for racer in racers] == ["ready"] * 4
        for racer in racers:
            _release(racer)
        pids = sorted(_read_line(racer) for racer in racers)
        for racer in racers:
            racer.kill()
    assert pids == sorted([str(_pid(data_dir)), "None", "None", "None"])
    with connect_sync(url) as client:
        assert client.info()["process_id"] == _pid(data_dir)
    # It has a session of its own, so Ctrl-C in the starter's terminal does not reach it.
    assert os.getsid(_pid(data_dir)) != os.getsid(0)


def test_data_survives_a_killed_server(url: str, data_dir: Path) -> None:
    server = local_server.start(url, data_dir)
    assert server.pid is not None
    with connect_sync(url) as client:
        client.config_set("appendfsync", "always")
        client.xadd("log", {"a": "b"})
    _kill(server.pid, url)
    restarted = local_server.start(url, data_dir)
    assert restarted.pid not in (None, server.pid)
    with connect_sync(url) as client:
        assert client.xlen("log") == 1


def test_a_stopped_server_keeps_its_data_and_frees_its_folder(url: str, data_dir: Path) -> None:
    server = local_server.start(url, data_dir)
    with connect_sync(url) as client:
        client.xadd("log", {"a": "b"})
    server.stop()
    server.stop()
    elsewhere = f"redis://localhost:{free_port()}"
    local_server.start(elsewhere, data_dir)
    with connect_sync(elsewhere) as client:
        assert client.xlen("log") == 1


def test_a_server_that_already_answers_is_used_and_not_stopped(
    server: Server, data_dir: Path
) -> None:
    existing = local_server.start(server.url, data_dir)
    existing.stop()
    assert existing.pid is None
    assert not data_dir.exists()
    with server.client() as client:
        assert client.ping()


def test_a_server_that_requires_a_login_counts_as_running(data_dir: Path) -> None:
    with Server(appendonly="no") as server:
        with server.client() as client:
            client.config_set("requirepass", "secret")
        assert local_server.start(server.url, data_dir).pid is None


def test_it_listens_on_a_unix_socket(server: Server, data_dir: Path) -> None:
    url = f"unix://{server.folder}/embedded.sock"
    local_server.start(url, data_dir)
    with connect_sync(url) as client:
        assert client.ping()
        assert client.info()["tcp_port"] == 0


def test_a_folder_has_one_server_at_a_time(url: str, data_dir: Path) -> None:
    local_server.start(url, data_dir)
    with pytest.raises(ServerError, match="belongs to the server at") as error:
        local_server.start(f"redis://127.0.0.1:{free_port()}", data_dir)
    assert url in str(error.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://192.0.2.1", "only for this machine"),
        ("redis://runnel.invalid:6379", "only for this machine"),
        ("rediss://127.0.0.1:1", "neither TLS nor a login"),
        ("redis://user:secret@127.0.0.1:1", "neither TLS nor a login"),
        ("redis://127.0.0.1:1?password=secret", "neither TLS nor a login"),
        ("unix:///nowhere/s.sock?username=secret", "neither TLS nor a login"),
        (f"unix:///{'x' * 120}/s.sock", "too long"),
        ("reddis://127.0.0.1", "did you mean redis"),
    ],
)
def test_an_address_for_which_no_local_server_can_start_is_refused(
    url: str, problem: str, data_dir: Path
) -> None:
    with pytest.raises(ConfigError, match=problem) as error:
        local_server.start(url, data_dir)
    assert "secret" not in str(error.value)
    assert not data_dir.exists()


def test_a_data_folder_that_cannot_be_made_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"data folder .* cannot be used"):
        local_server.start(url, tmp_path / "file" / "data")


def test_a_server_that_does_not_start_shows_the_end_of_its_log(url: str, data_dir: Path) -> None:
    local_server.start(url, data_dir).stop()
    for part in (data_dir / "appendonlydir").glob("*.incr.aof"):
        part.write_bytes(b"this is no append-only file\r\n")
    with pytest.raises(ServerError, match="did not start") as error:
        local_server.start(url, data_dir)
    assert "Bad file format" in str(error.value)


def test_a_program_at_the_address_that_is_no_server_is_reported(
    url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "FOREIGN_TIMEOUT", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerError, match="does not answer as a server"):
            local_server.start(url, data_dir)


def test_in_the_foreground_the_server_is_the_process_and_gets_its_signals(
    url: str, data_dir: Path
) -> None:
    code = (
        "import sys, pathlib; from runnel.embedded.local_server import foreground;"
        "foreground(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, url, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        while "Ready to accept connections" not in server.stdout.readline():
            assert server.poll() is None
        with connect_sync(url) as client:
            assert client.info()["process_id"] == server.pid
        with pytest.raises(ServerError, match="already listens"):
            local_server.foreground(url, data_dir)
        with pytest.raises(ServerError, match="belongs to the server at"):
            local_server.foreground(f"redis://127.0.0.1:{free_port()}", data_dir)
        server.send_signal(signal.SIGTERM)
        server.stdout.read()
    assert server.returncode == 0
