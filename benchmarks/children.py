"""Starts the processes under measurement and talks with them."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Job

ROOT = Path(__file__).resolve().parent.parent


class ChildFailed(Exception):
    """A process under measurement ended, was silent for too long, or did not get ready."""


@dataclass(frozen=True)
class Tree:
    """A folder whose ``runnel`` and ``lua`` are measured; `name` is ``new`` or ``old``."""

    name: str
    path: Path = ROOT


class Child:
    """A process under measurement, which writes lines of JSON to stdout."""

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
        """Write a line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, key: str, seconds: float = 120) -> Any:
        """What it reported under `key`, now or earlier. What it reports under other keys meanwhile
        is kept until it is asked for.

        Raises ChildFailed if it ends, or reports nothing under `key` for so many seconds.
        """
        for line in self._unheard:
            if key in line:
                self._unheard.remove(line)
                return line[key]
        deadline = time.monotonic() + seconds
        while True:
            try:
                text = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._failed(f"did not report {key!r} in {seconds} s") from None
            if not text:
                code = self._process.wait(15)
                raise self._failed(f"ended with exit code {code} before it reported {key!r}")
            found: dict[str, Any] = json.loads(text)
            if key in found:
                return found[key]
            self._unheard.append(found)

    def ask(self, key: str) -> Any:
        """Have it do one more round, and return what it reports under `key`. Raises ChildFailed."""
        self.say("go")
        return self.hear(key)

    def check(self) -> None:
        """Raise ChildFailed if it has ended."""
        if self._process.poll() is not None:
            raise self._failed(f"ended with exit code {self._process.returncode}")

    def kill(self) -> None:
        """Kill it as a crash would, and do not wait for its end."""
        self._process.kill()

    def end(self) -> None:
        """End it and wait until it has ended. What it reported before can still be read."""
        if self._process.poll() is None:
            self._process.terminate()
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

    def _failed(self, what: str) -> ChildFailed:
        self._errors.seek(0)
        return ChildFailed(f"{what}\n{self._errors.read().decode(errors='replace')[-3000:]}")


def start(tree: Tree, arguments: Sequence[str], job: Job, **more: str) -> Child:
    """Run Python on a tree's Runnel and on these benchmarks. `more` goes into the environment."""
    path = os.pathsep.join(map(str, (tree.path, ROOT)))
    environment = {**os.environ, **job.environment(), "PYTHONPATH": path, **more}
    return Child([sys.executable, *arguments], tree.path, environment)


def start_worker(tree: Tree, app: str, job: Job, *options: str, **more: str) -> Child:
    """Run an app of these benchmarks with `runnel worker`, as users do."""
    target = f"benchmarks.{app}:app"
    arguments = ["-m", "runnel", "worker", target, "--log-level", "warning", *options]
    return start(tree, arguments, job, **more)


def wait_until(
    condition: Callable[[], bool], children: Iterable[Child] = (), step: float = 0.01
) -> None:
    """Wait until a condition is true. Raises ChildFailed after a minute, or if a child ends."""
    deadline = time.monotonic() + 60
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise ChildFailed("did not get ready in 60 s")
        time.sleep(step)
