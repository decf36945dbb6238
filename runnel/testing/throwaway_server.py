"""A server for the tests of one session. It keeps nothing, and ends with the process of the tests,
however that ends."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from redis.exceptions import RedisError

from runnel.connection.connect import connect_sync
from runnel.embedded.binary import find_binary
from runnel.errors import ServerError

#: Seconds in which it must answer.
START = 20.0
#: Runs the server until its input ends, as it does when the process that writes to it has died.
_UNTIL_ORPHANED = '"$@" </dev/null & server=$!; cat >/dev/null; kill $server; wait $server'


class ThrowawayServer:
    """Starts at the entry of its block. Raises ConfigError if no server program is found, and
    ServerError if it does not start."""

    def __init__(self) -> None:
        self._program = find_binary().path
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    def __enter__(self) -> str:
        # A short path: a Unix socket allows no long one.
        self._folder = folder = Path(tempfile.mkdtemp(prefix="runnel-"))
        socket, log = folder / "s", folder / "log"
        options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
        nothing_kept = ["--save", "", "--appendonly", "no", "--logfile", str(log)]
        command = ["/bin/sh", "-c", _UNTIL_ORPHANED, "sh", str(self._program)]
        self._process = subprocess.Popen(
            [*command, *options, *nothing_kept],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests, which end it.
        )
        url = f"unix://{socket}"
        try:
            self._wait(url, log)
        except BaseException:
            self.__exit__()
            raise
        return url

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self, url: str, log: Path) -> None:
        deadline = time.monotonic() + START
        while True:
            try:
                with connect_sync(url, socket_timeout=2.0) as client:
                    client.ping()
                return
            except (RedisError, OSError) as error:
                if time.monotonic() > deadline:
                    said = log.read_text(errors="replace")[-1000:] if log.exists() else ""
                    raise ServerError(f"{self._program} did not start: {error}\n{said}") from error
            time.sleep(0.01)
