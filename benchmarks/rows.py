"""Rows of the table of results, and what they are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: Figures of one run: name -> number.
Sample = dict[str, float]


@dataclass
class Row:
    """One line of the table.

    `ratios` has the ratio of each run to the reference's run of the same round. `old` has the
    values of the other tree if two are compared. `details` are medians of further figures.
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

    @property
    def to_old(self) -> float | None:
        """Median of each run's ratio to the other tree's run of the same round, if there is one."""
        return statistics.median(ratios(self.values, self.old)) if self.old else None


def column(samples: Iterable[Sample], key: str) -> list[float]:
    """One figure of each run."""
    return [sample[key] for sample in samples]


def medians(samples: Sequence[Sample], but: str) -> Sample:
    """The median of every other figure."""
    keys = [key for key in samples[0] if key != but]
    return {key: statistics.median(column(samples, key)) for key in keys}


def ratios(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """The ratio of each run to the reference's run of the same round."""
    return [value / reference for value, reference in zip(values, references, strict=True)]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
