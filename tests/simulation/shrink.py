"""Finds a small set of faults that still causes a violation."""

from __future__ import annotations

from tests.simulation.run import run
from tests.simulation.scenario import Scenario
from tests.simulation.store import Store


def shrink(scenario: Scenario, store: Store) -> Scenario:
    """The scenario without the faults that the same violation does not need.

    Leaves out large groups of faults first, then smaller ones, until every single fault is needed.
    """
    violation = run(scenario, store).violation
    if violation is None:
        return scenario
    size = max(1, len(scenario.faults) // 2)
    while scenario.faults:
        spared = False
        for start in range(0, len(scenario.faults), size):
            smaller = scenario.without(set(range(start, start + size)))
            found = run(smaller, store).violation
            if found is not None and found.invariant == violation.invariant:
                scenario, spared = smaller, True
                break
        if not spared:
            if size == 1:
                break
            size = max(1, size // 2)
    return scenario
