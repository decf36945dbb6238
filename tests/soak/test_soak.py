"""Short soaks: each fault once, in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import available_servers
from tests.soak.faults import FAULTS
from tests.soak.run import Plan, perform
from tests.soak.stage import STAGES

pytestmark = pytest.mark.soak


async def soak(mode: str, folder: Path) -> None:
    with STAGES[mode](available_servers()[0]) as stage:
        outcome = await perform(
            Plan(seed=1, seconds=0, events=10**9, rate=300), stage, folder, print
        )
    assert outcome.verdict.violations == []
    assert set(outcome.faults) == {each.name for each in FAULTS if mode in each.modes}
    assert outcome.verdict.takeovers


@pytest.mark.timeout(240)
@pytest.mark.fault(1, 2, 4, 5, 6, 7, 11, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 30, 31, 43)
async def test_nothing_is_lost_or_disordered_on_a_server_under_faults(tmp_path: Path) -> None:
    await soak("server", tmp_path)


@pytest.mark.timeout(240)
@pytest.mark.fault(13, 14, 16, 17)
async def test_nothing_acknowledged_is_lost_when_primaries_are(tmp_path: Path) -> None:
    await soak("sentinel", tmp_path)


@pytest.mark.timeout(240)
@pytest.mark.fault(17, 38, 39, 40)
async def test_nothing_acknowledged_is_lost_when_slots_move_and_masters_fail(
    tmp_path: Path,
) -> None:
    await soak("cluster", tmp_path)
