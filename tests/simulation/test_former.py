"""A worker reads from a primary that was replaced: what only that one had leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.servers import Server
from tests.simulation.bugs import BY_NAME
from tests.simulation.drawing import draw
from tests.simulation.emitting import MOVES
from tests.simulation.run import run
from tests.simulation.scenario import STALE, Fault, Scenario, Shape
from tests.simulation.store import Store
from tests.simulation.trace import Trace

#: Its handlers write to a table, or emit.
COUNTS = Shape("one", "auto", "QUARANTINE", False, counts=True)
EMITS = replace(COUNTS, counts=False, emits=(MOVES,))


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Server(appendonly="no") as server:
        store = Store(server)
        yield store
        store.close()


def scenario(seed: int, shape: Shape, *, trims: bool = False) -> Scenario:
    """One worker, and partitions without events; or few, whose last event leaves the log."""
    aim = "trim" if trims else ""
    return replace(
        draw(0),
        seed=seed,
        partitions=2 if trims else 16,
        workers=1,
        producers=4,
        shapes=(shape,),
        session_timeout=3.0,
        prefetch=10,
        retries=1,
        work=(0.0, 0.05) if trims else (0.1, 1.0),
        failing=0.0,
        poisonous=0.0,
        deadly=0.0,
        delayed=0.0,
        partition_size=200,
        max_age=0.0,
        drop_oldest=False,
        send_every=0.3 if trims else 1.0,
        max_send=1,
        delay=(0.0002, 0.001),
        faults=tuple(Fault(3.1 + 1.5 * i, STALE, 0, 0.6, aim) for i in range(4)),
        calm_from=10.0,
    )


@pytest.mark.parametrize(("shape", "trims"), [(COUNTS, False), (EMITS, False), (COUNTS, True)])
def test_s5_what_only_a_former_primary_had_is_in_no_table_and_no_other_stream(
    store: Store, shape: Shape, trims: bool
) -> None:
    trace = Trace(keep=None)
    result = run(scenario(1, shape, trims=trims), store, trace)
    assert result.violation is None, "\n".join([*list(trace.lines)[-60:], str(result.violation)])
    assert any(" missing=#" in each for each in trace.lines), "no handler got such an event"


def test_a_commit_that_takes_it_for_a_trimmed_event_is_found() -> None:
    bug = BY_NAME["an event that only a former primary had taken for one that was trimmed"]
    with Server(appendonly="no") as server:
        store = Store(server, bug.edit_script)
        found = any(run(scenario(i, COUNTS, trims=True), store).violation for i in range(6))
        store.close()
    assert found
