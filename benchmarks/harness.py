"""What all measures share: what was asked for, and rounds in which runs take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from benchmarks.children import ChildFailed, Tree
from benchmarks.rows import Row, Sample, column, medians, ratios
from benchmarks.server import machine_busy


@dataclass
class Bench:
    """What a measure needs to know of this run."""

    new: Tree
    old: Tree | None
    quick: bool
    profile: bool
    patient: bool
    only: frozenset[str]
    #: How often a worker is killed.
    kills: int = 0
    #: Which other libraries are measured: None for none, empty for all.
    peers: Sequence[str] | None = None
    #: Profiles by row, as the sampler in the worker reports them.
    profiles: dict[str, Any] = field(default_factory=dict)
    #: How the last worker had set its garbage collector.
    collector: Sequence[int] = ()
    #: What the other tree could not do, and why.
    failed: dict[str, str] = field(default_factory=dict)
    #: What the other libraries ran with.
    versions: dict[str, str] = field(default_factory=dict)
    #: A row that is being measured beside others.
    idle: Future[Row] | None = None
    _names: int = 0

    @property
    def rounds(self) -> int:
        """How often each row is run."""
        return 3 if self.quick else 5

    @property
    def trees(self) -> list[Tree]:
        """What is measured, the new one first."""
        return [self.new, *([self.old] if self.old else [])]

    def wants(self, *names: str, quick: bool = True) -> bool:
        """Was any of these asked for, or nothing in particular? `quick`: in a quick run, too."""
        return bool(self.only & set(names)) if self.only else quick or not self.quick

    def interleaved(
        self, runs: Mapping[str, Callable[[], Sample]], rounds: int = 0
    ) -> dict[str, list[Sample]]:
        """A B C, C B A, A B C …: so that what else the machine does hits all alike.

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
        self,
        row: Row,
        samples: Mapping[str, list[Sample]],
        key: str,
        reference: Sequence[Sample] = (),
        old_reference: Sequence[Sample] = (),
    ) -> Row:
        """Fill in a row from the runs ``NAME@new``, ``NAME@old`` and those of the reference.

        The other tree is held against `old_reference`, or without one against the same.
        """
        found = samples[f"{row.name}@new"]
        row.values = column(found, key)
        row.details = medians(found, key)
        if reference:
            row.ratios = ratios(row.values, column(reference, key))
            # 0 where the system does not tell.
            if all(each.get("worker_us") for each in (*found, *reference)):
                pairs = (column(reference, "worker_us"), column(found, "worker_us"))
                row.details["cpu ratio"] = statistics.median(ratios(*pairs))
        if old := samples.get(f"{row.name}@old"):
            row.old = column(old, key)
            if beside := old_reference or reference:
                row.old_ratios = ratios(row.old, column(beside, key))
        return row

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
