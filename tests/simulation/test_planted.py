"""The simulator finds planted bugs: some here, all with `scripts/simulate --planted`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.servers import Server
from tests.simulation.bugs import BUGS, BY_NAME
from tests.simulation.drawing import draw
from tests.simulation.planted import ROOT
from tests.simulation.run import run
from tests.simulation.store import Store

#: The least number of bugs. `scripts/simulate --planted` fails unless it finds each.
AT_LEAST = 137
#: Bugs in scripts that the first few seeds find.
QUICK = (
    "no fence",
    "no compare-and-set",
    "an epoch that need not rise",
    "write before check",
    "a release keeps the token",
    "retention passes a checkpoint",
    "a worker removes old events that a slow processor has not committed",
    "off by one in the balance",
    "a table written outside the commit",
    "the last event that is promoted stays delayed",
    "a send overtakes what is due",
)
#: Where to look first for a bug that few seeds find.
FOUND_BY = {"no compare-and-set": 23}


def test_there_are_enough_bugs_and_each_still_applies_to_its_file() -> None:
    assert len(BY_NAME) == len(BUGS) >= AT_LEAST
    for bug in BUGS:
        source = (ROOT / bug.file).read_text()
        assert bug.edit(source) != source


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", QUICK)
def test_a_bug_in_a_script_is_found_quickly(name: str) -> None:
    with Server(appendonly="no") as server:
        store = Store(server, BY_NAME[name].edit_script)
        seeds = dict.fromkeys((FOUND_BY.get(name, 0), *range(40)))
        found = any(run(draw(seed), store).violation for seed in seeds)
        store.close()
    assert found


def test_a_bug_in_the_worker_is_found_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--first", "--seeds", "12"]
    command += ["--plant", "one nonce for each process"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1, done.stderr
    assert "one nonce for two claims" in done.stdout
    assert "scripts/simulate --replay" in done.stdout
