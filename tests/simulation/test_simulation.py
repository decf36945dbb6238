"""Runs the simulator on a few seeds; `scripts/simulate` runs any number."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.servers import Server, available_servers
from tests.simulation.drawing import draw
from tests.simulation.run import run
from tests.simulation.scenario import Fault
from tests.simulation.shrink import shrink
from tests.simulation.store import Store
from tests.simulation.trace import Trace

#: Seeds that take little time each and together have all kinds of faults; and one in which a
#: removal arrives late.
SEEDS = (*range(24), 929)
#: Seeds whose trace must be the same on every server.
SAME = (0, 3, 5, 8)


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_collect() -> Iterator[None]:
    """A seed makes many objects. What the whole suite holds need not be searched each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Server(appendonly="no") as server:
        store = Store(server)
        yield store
        store.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_invariant_is_violated(store: Store, seed: int) -> None:
    trace = Trace()
    result = run(draw(seed), store, trace)
    assert result.violation is None, "\n".join(
        [*trace.lines, str(result.violation), f"scripts/simulate --replay {seed} --shrink"]
    )


def test_the_seeds_handle_events_over_much_virtual_time(store: Store) -> None:
    results = [run(draw(seed), store) for seed in (0, 3, 5)]
    assert all(each.events for each in results)
    assert sum(each.virtual for each in results) > 100


@pytest.mark.timeout(240)
def test_the_same_seed_has_the_same_trace_on_every_server(store: Store) -> None:
    first = [run(draw(seed), store).digest for seed in SAME]
    assert len(set(first)) == len(SAME)
    assert [run(draw(seed), store).digest for seed in SAME] == first
    for binary in available_servers()[1:]:
        with Server(binary, appendonly="no") as server:
            other = Store(server)
            assert [run(draw(seed), other).digest for seed in SAME] == first, str(binary)
            other.close()


def test_a_failing_scenario_is_shrunk_to_the_faults_it_needs() -> None:
    scenario = draw(0)
    kill = Fault(6.0, "kill", 0, 0.9)
    calm = tuple(Fault(5.0 + i / 10, "flush", 0, 0.0) for i in range(6))
    scenario = scenario.without(set(range(len(scenario.faults))))
    scenario = type(scenario)(**{**vars(scenario), "faults": (*calm, kill), "calm_from": 8.0})

    def edit(name: str, source: bytes) -> bytes:
        # Sessions of dead members never end.
        return source.replace(b"sessions, '-inf', string.format('%.0f', now), 'LIMIT'",
                              b"sessions, '-inf', '0', 'LIMIT'")  # fmt: skip

    with Server(appendonly="no") as server:
        store = Store(server, edit)
        assert shrink(scenario, store).faults == (kill,)
        store.close()
