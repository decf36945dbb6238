"""Starts a local server that several processes share and that outlives them.

A data folder has at most one server. The server holds a lock on the folder as long as it lives: it
inherits the lock from the process that started it. So only one of several processes that start at
the same time starts a server, and a server that was killed leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError

from runnel.connection.connect import connect_sync
from runnel.connection.url import check_url
from runnel.connection.url_text import redacted
from runnel.embedded.binary import find_binary
from runnel.errors import ConfigError, ServerError

#: Seconds a server may take to load its data and answer.
START_TIMEOUT = 30.0
#: Seconds to wait for another process that is starting or stopping a server here.
LOCK_TIMEOUT = 10.0
#: Seconds to wait for an answer from a program that listens, that this process did not start, and
#: that is not loading data.
FOREIGN_TIMEOUT = 5.0
_POLL = 0.02
_LOADING = "it is still loading its data"
#: Bytes of a Unix socket's path that every platform allows.
_LONGEST_SOCKET_PATH = 103


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers at `url`. `pid` is None if this process did not start it."""

    url: str
    pid: int | None = None

    def stop(self) -> None:
        """Stop the server if `start` started it. Its data is on disk afterwards."""
        if self.pid is None:
            return
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + LOCK_TIMEOUT
        while _listens(self.url):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the server at {redacted(self.url)} (pid {self.pid}) does not stop"
                )
            time.sleep(_POLL)


def start(url: str, data_dir: Path = Path(".runnel")) -> Server:
    """Use the server that answers at `url`, or start one there that outlives this process.

    Its append-only file, log and lock are in `data_dir`. Several processes may call it at the same
    time. Raises ConfigError if the URL cannot be that of a local server or no program is found,
    ServerError with the end of the server's log if it does not start.
    """
    check_url(url)
    deadline = time.monotonic() + LOCK_TIMEOUT
    while not _listens(url):
        arguments = _arguments(url, data_dir)
        lock = _lock(data_dir, url)
        if lock is None:
            if _serves_another(data_dir, url) or time.monotonic() > deadline:
                raise ServerError(_occupied(data_dir))
            time.sleep(_POLL)
            continue
        try:
            pid = _spawn([str(find_binary().path), *arguments], lock)
            _wait(url, pid, data_dir)
        finally:
            os.close(lock)
        return Server(url, pid)
    _wait(url, None, data_dir)
    return Server(url)


def foreground(url: str, data_dir: Path, announce: Callable[[], object] = lambda: None) -> NoReturn:
    """Replace this process by the server, which gets its signals and writes its log to stdout. Call
    `announce` just before.

    Raises ConfigError as `start` does, and ServerError if a server already runs.
    """
    check_url(url)
    if _listens(url):
        raise ServerError(f"a server already listens at {redacted(url)}: use it, or another URL")
    arguments = _arguments(url, data_dir)
    program = str(find_binary().path)
    lock = _lock(data_dir, url)
    if lock is None:
        raise ServerError(_occupied(data_dir))
    os.set_inheritable(lock, True)
    announce()
    os.execv(program, [program, *arguments, "--logfile", ""])


def _arguments(url: str, data_dir: Path) -> list[str]:
    """The server's options. It writes each event to its append-only file within a second."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    logs_in = parts.username or parts.password or "username" in options or "password" in options
    if parts.scheme == "rediss" or logs_in:
        raise ConfigError(
            f"nothing answers at {redacted(url)}, and an embedded server has neither TLS nor a "
            f"login: start that server, or use redis://127.0.0.1:PORT or unix:///path/to/socket"
        )
    folder = data_dir.resolve()
    if parts.scheme == "unix":
        path = _socket_path(url)
        where = ["--port", "0", "--unixsocket", path, "--unixsocketperm", "700"]
    else:
        where = ["--port", str(parts.port or 6379), "--bind", *_loopback(url, parts.hostname or "")]
    files = ["--dir", str(folder), "--logfile", str(folder / "server.log")]
    return [*where, *files, "--pidfile", str(folder / "server.pid"), *_DURABLE]


_DURABLE = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]


def _loopback(url: str, host: str) -> list[str]:
    """The addresses to bind for a host that means this machine."""
    if host == "localhost":
        return ["127.0.0.1", "-::1"]
    try:
        if ipaddress.ip_address(host).is_loopback:
            return [host]
    except ValueError:
        pass
    raise ConfigError(
        f"nothing answers at {redacted(url)}, and an embedded server is only for this machine: "
        f"start that server, or use redis://127.0.0.1:PORT"
    )


def _socket_path(url: str) -> str:
    path = unquote(urlsplit(url).path)
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConfigError(
            f"the socket path in {redacted(url)} is too long for a Unix socket: "
            f"at most {_LONGEST_SOCKET_PATH} bytes"
        )
    return path


def _lock(data_dir: Path, url: str) -> int | None:
    """The folder's lock as a file descriptor, or None while another process has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, url.encode())
    return descriptor


def _serves_another(data_dir: Path, url: str) -> bool:
    """Whether the server of the folder runs at another address: then waiting does not help."""
    other = (data_dir / "lock").read_text()
    return "://" in other and other != url and _listens(other)


def _occupied(data_dir: Path) -> str:
    other = redacted((data_dir / "lock").read_text()) or "another address"
    return f"the data folder {data_dir} belongs to the server at {other}: use it, or another folder"


def _spawn(command: list[str], lock: int) -> int:
    """Start the server in a session of its own and return its process id.

    The shell in between ends at once, so that the server is no child of this process: it neither
    dies with it nor becomes a zombie.
    """
    script = '"$@" </dev/null >/dev/null 2>&1 & echo $!'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command],
        start_new_session=True,
        pass_fds=[lock],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(shell.stdout)


def _wait(url: str, pid: int | None, data_dir: Path) -> None:
    """Wait until the server answers; it may still be loading its data."""
    began = time.monotonic()
    while problem := _problem(url):
        patience = START_TIMEOUT if pid or problem == _LOADING else FOREIGN_TIMEOUT
        if (pid and not _alive(pid)) or time.monotonic() - began > patience:
            break
        time.sleep(_POLL)
    else:
        return
    if pid is None:
        raise ServerError(f"the program at {redacted(url)} does not answer as a server: {problem}")
    raise ServerError(
        f"the server at {redacted(url)} did not start. The end of {data_dir / 'server.log'}:\n"
        f"{_tail(data_dir / 'server.log')}"
    )


def _listens(url: str) -> bool:
    """Whether anything accepts a connection at the URL's address."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(_socket_path(url))
        else:
            address = (parts.hostname or "", parts.port or 6379)
            with socket.create_connection(address, timeout=2):
                pass
    except OSError:
        return False
    return True


def _problem(url: str) -> str | None:
    """Why the server cannot be used yet, or None if it answers."""
    with connect_sync(url, socket_timeout=2.0) as client:
        try:
            client.ping()
        except BusyLoadingError:
            return _LOADING
        except AuthenticationError:
            return None  # It answers. The caller's first call checks the login.
        except (RedisError, OSError) as error:
            return str(error)
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _tail(path: Path, lines: int = 5) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log was written)"
