"""What all measures share: the options of this run, and rounds in which runs take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.children import ChildFailed, Tree
from benchmarks.deployment import machine_busy
from benchmarks.rows import Row, Sample, column, medians, ratios

T = TypeVar("T")


@dataclass
class Bench:
    """One run of `scripts/bench`. With `old`, another tree is measured beside the new one."""

    new: Tree
    old: Tree | None
    quick: bool
    patient: bool
    only: frozenset[str]
    #: How often a worker is killed.
    kills: int = 0
    #: Which other libraries are measured: None for none, empty for all.
    peers: Sequence[str] | None = None
    #: The garbage collector's settings in the last worker.
    collector: Sequence[int] = ()
    #: What was left out, and why.
    failed: dict[str, str] = field(default_factory=dict)
    #: The versions with which the other libraries ran.
    versions: dict[str, str] = field(default_factory=dict)
    #: A row that is measured while others are.
    idle: Future[Row] | None = None
    _names: int = 0

    @property
    def rounds(self) -> int:
        """How often each row is run."""
        return 3 if self.quick else 5

    @property
    def trees(self) -> list[Tree]:
        """The trees that are measured, the new one first."""
        return [self.new, *([self.old] if self.old else [])]

    def wants(self, *names: str, quick: bool = True) -> bool:
        """Whether to measure one of these. `quick`: a quick run measures them too."""
        return bool(self.only & set(names)) if self.only else quick or not self.quick

    def of_old(self, name: str, measure: Callable[[Tree], T]) -> T | None:
        """The result of the other tree; None without one, or if it fails, which is noted."""
        try:
            return measure(self.old) if self.old else None
        except ChildFailed as error:
            self.failed[f"{name}@old"] = str(error)
            return None

    def interleaved(
        self, runs: Mapping[str, Callable[[], Sample]], rounds: int = 0
    ) -> dict[str, list[Sample]]:
        """The samples of each run, taken in the order A B C, C B A, A B C …: whatever else the
        machine does then affects all alike.

        Runs of the other tree are named ``…@old``; they may fail, and are left out then.
        """
        samples: dict[str, list[Sample]] = {name: [] for name in runs}
        for number in range(rounds or self.rounds):
            for name in reversed([*runs]) if number % 2 else runs:
                if name in self.failed:
                    continue
                self.settle()
                try:
                    samples[name].append(runs[name]())
                except ChildFailed as error:
                    if not name.endswith("@old"):
                        raise
                    self.failed[name] = str(error)
                    samples[name] = []
        return samples

    def row(
        self, row: Row, samples: Mapping[str, list[Sample]], key: str, reference: str = ""
    ) -> Row:
        """Fill in a row from its runs, ``NAME@new`` and ``NAME@old``, and those of the row that is
        its reference. The other tree is compared with the new one's where it has none of its own.
        """
        found = samples[f"{row.name}@new"]
        row.values = column(found, key)
        row.details = medians(found, key)
        if reference:
            beside = samples[f"{reference}@new"]
            row.ratios = ratios(row.values, column(beside, key))
            # 0 where the system does not report it.
            if all(each.get("worker_us") for each in (*found, *beside)):
                pairs = (column(beside, "worker_us"), column(found, "worker_us"))
                row.details["cpu ratio"] = statistics.median(ratios(*pairs))
        if old := samples.get(f"{row.name}@old"):
            row.old = column(old, key)
            if reference:
                beside = samples.get(f"{reference}@old") or samples[f"{reference}@new"]
                row.old_ratios = ratios(row.old, column(beside, key))
        return row

    def settle(self) -> None:
        """With --patient, wait until other programs are quiet, at most a minute."""
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
