"""What all measures share: the tree that is measured, its processes, rounds, rows of results."""

from __future__ import annotations

import json
import os
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.job import Job
from benchmarks.server import machine_busy

ROOT = Path(__file__).parent.parent
#: Figures of one run: name -> number.
Sample = dict[str, float]


class ChildFailed(Exception):
    """A process under measurement ended or went silent."""


@dataclass(frozen=True)
class Tree:
    """A folder whose ``runnel`` and ``lua`` are measured. `name` tells two of them apart."""

    name: str
    path: Path = ROOT


class Child:
    """A Python process under measurement, started in a tree. It speaks in lines of JSON."""

    def __init__(self, tree: Tree, arguments: Sequence[str], job: Job | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {**os.environ, **(job.environment() if job else {})}
        # The tree comes first on the path, before an installed Runnel.
        environment["PYTHONPATH"] = str(tree.path)
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tree.path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

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
        """What its next line says about `key`. Raises ChildFailed if it ends or says nothing."""
        assert self._process.stdout is not None
        if not self._selector.select(seconds):
            raise ChildFailed(f"said nothing of {key!r} in {seconds} s\n{self._last_words()}")
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"ended before it said {key!r}\n{self._last_words()}")
        return json.loads(line)[key]

    def check(self) -> None:
        """Raise ChildFailed if it has ended."""
        if self._process.poll() is not None:
            raise ChildFailed(
                f"ended with exit code {self._process.returncode}\n{self._last_words()}"
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for that."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:]


@dataclass
class Row:
    """One line of the table.

    `ratios` are those of each run to the run of the reference beside it, `old` the values of
    the other tree where two are compared. `details` are medians of further figures.
    """

    name: str
    title: str
    unit: str
    values: list[float]
    reference: str = ""
    ratios: list[float] = field(default_factory=list)
    old: list[float] = field(default_factory=list)
    old_ratios: list[float] = field(default_factory=list)
    more_is_better: bool = True
    details: Sample = field(default_factory=dict)
    note: str = ""

    @property
    def median(self) -> float:
        """Median of its runs."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """Median of its ratios to the reference, if it has one."""
        return statistics.median(self.ratios) if self.ratios else None


@dataclass
class Bench:
    """What a measure needs to know of this run."""

    new: Tree
    old: Tree | None
    quick: bool
    profile: bool
    patient: bool
    only: frozenset[str]
    #: Profiles by row, as the sampler in the worker reports them.
    profiles: dict[str, Any] = field(default_factory=dict)
    _names: int = 0

    @property
    def rounds(self) -> int:
        """How often each row is run."""
        return 3 if self.quick else 5

    @property
    def trees(self) -> list[Tree]:
        """What is measured, the new one first."""
        return [self.new, *([self.old] if self.old else [])]

    def wants(self, *names: str) -> bool:
        """Was any of these asked for, or nothing in particular?"""
        return not self.only or bool(self.only & set(names))

    def interleaved(
        self, runs: Mapping[str, Callable[[], Sample]], rounds: int = 0
    ) -> dict[str, list[Sample]]:
        """A B C A B C …: so that what else the machine does hits all alike."""
        samples: dict[str, list[Sample]] = {name: [] for name in runs}
        for _ in range(rounds or self.rounds):
            for name, run in runs.items():
                self.settle()
                samples[name].append(run())
        return samples

    def settle(self) -> None:
        """If that was asked for, wait until others leave the machine alone, at most a minute."""
        deadline = time.monotonic() + 60
        while self.patient and time.monotonic() < deadline:
            busy = machine_busy()
            time.sleep(0.5)
            if machine_busy() - busy < 0.1:
                return

    def fresh_name(self) -> str:
        """A name that no run has used."""
        self._names += 1
        return f"p{self._names}"


def column(samples: Iterable[Sample], key: str) -> list[float]:
    """One figure of each run."""
    return [sample[key] for sample in samples]


def medians(samples: list[Sample], but: str) -> Sample:
    """The median of every other figure."""
    keys = [key for key in samples[0] if key != but]
    return {key: statistics.median(column(samples, key)) for key in keys}


def ratios(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """Each run against the reference's run of the same round."""
    return [value / reference for value, reference in zip(values, references, strict=True)]


def wait_until(condition: Callable[[], bool], seconds: float = 60, step: float = 0.01) -> None:
    """Wait for a condition. Raises ChildFailed when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ChildFailed(f"waited {seconds} s in vain")
        time.sleep(step)
