"""The processes under measurement, and the tree whose Runnel they run."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Job

ROOT = Path(__file__).resolve().parent.parent


class ChildFailed(Exception):
    """A process under measurement ended or went silent."""


@dataclass(frozen=True)
class Tree:
    """A folder whose ``runnel`` and ``lua`` are measured. `name` tells two of them apart."""

    name: str
    path: Path = ROOT


class Child:
    """A process under measurement, which speaks in lines of JSON."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._unheard: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def say(self, line: str) -> None:
        """Give it a line on stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, key: str, seconds: float = 120) -> Any:
        """What it says about `key`, now or earlier. Raises ChildFailed if it ends or says nothing.

        What it says about other things meanwhile waits until it is asked for.
        """
        return self.hear_line(key, seconds)[key]

    def hear_line(self, key: str, seconds: float = 120) -> dict[str, Any]:
        """The same with what it said beside it."""
        for line in self._unheard:
            if key in line:
                self._unheard.remove(line)
                return line
        deadline = time.monotonic() + seconds
        while True:
            try:
                text = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ChildFailed(
                    f"said nothing of {key!r} in {seconds} s\n{self._last_words()}"
                ) from None
            if not text:
                code = self._process.wait(15)
                raise ChildFailed(
                    f"ended with exit code {code} before it said {key!r}\n{self._last_words()}"
                )
            found: dict[str, Any] = json.loads(text)
            if key in found:
                return found
            self._unheard.append(found)

    def check(self) -> None:
        """Raise ChildFailed if it has ended."""
        if self._process.poll() is not None:
            raise ChildFailed(
                f"ended with exit code {self._process.returncode}\n{self._last_words()}"
            )

    def kill(self) -> None:
        """End it at once, as a crash would, without waiting for that."""
        self._process.kill()

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for that. What it said before can still be heard."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reading.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:]


def start(tree: Tree, arguments: Sequence[str], job: Job | None = None, **more: str) -> Child:
    """Run Python on a tree's Runnel and on these benchmarks. `more` goes into the environment."""
    path = os.pathsep.join(map(str, (tree.path, ROOT)))
    environment = {**os.environ, **(job.environment() if job else {}), "PYTHONPATH": path, **more}
    return Child([sys.executable, *arguments], tree.path, environment)


def wait_until(condition: Callable[[], bool], seconds: float = 60, step: float = 0.01) -> None:
    """Wait for a condition. Raises ChildFailed when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ChildFailed(f"waited {seconds} s in vain")
        time.sleep(step)
