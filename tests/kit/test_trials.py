"""Planted faults: each trial catches those that it is there for, and names the rule."""

from __future__ import annotations

import asyncio
import sys

import pytest

from runnel.conformance.running import Plan, Result, perform
from runnel.conformance.scene import Commands
from runnel.conformance.trials import TRIALS
from tests.kit.link import PLANTS

JOBS = 10
#: Seconds. Some never come to what they should; on a busy machine they need some of that to join.
PATIENCE = 10.0
#: What is planted, in which trial, and what that breaks. Faults that do not hide each other share a
#: trial. The one that takes longest is the first.
PLANTED = {
    "late-clock,wrong-count": ("session-clock", {"W7", "W18"}),
    "float-hash,early-commit,text-reply,no-register": ("calm", {"P2", "W17", "C5", "W2"}),
    "new-nonce,new-append,lost-commit,same-sync": ("lost-replies", {"W9", "C3", "W19", "W3"}),
    "forgets": ("lost-replies", {"W5"}),
    "look-first": ("loss", {"W13"}),
    "conflict-ignored": ("loss", {"W20"}),
    "no-seen": ("lost-keys", {"W5"}),
    "no-clock": ("stop", {"W7"}),
    "zombie": ("late-calls", {"W20"}),
    "pause-ignored": ("operators", {"W11"}),
    "no-reload": ("flush", {"C4"}),
    "careless": ("kill", {"W23"}),
    "unreported,wrong-entry": ("leave", {"W5", "P10"}),
    "no-leave": ("leave", {"W26"}),
    "no-limit": ("mute", {"C2"}),
    "no-report": ("failing-moves", {"W21"}),
    "own-count": ("failing-moves", {"W21"}),
    "no-pause,few-retries": ("failing", {"W21", "W24"}),
    "endless": ("failing", {"W21"}),
    "no-start": ("deadly", {"W23"}),
    "once-more": ("deadly", {"W22"}),
    "no-promote": ("delayed", {"W25"}),
    "no-overdue,json-only": ("overdue", {"P8", "W29"}),
    "parked-ignored": ("parked", {"W11"}),
    "no-due": ("postponed", {"W27"}),
    "outbox-ignored": ("outbox", {"W11"}),
    "no-check": ("permissions", {"C10"}),
    "blocking": ("blocked", {"W8"}),
    "impatient": ("blocked", {"contract"}),
}

#: What the client does not have; and what one with a fault claims to have.
WITHOUT = frozenset({"parked", "postponed", "outbox"})
CLAIMED = {"no-due": {"parked", "postponed"}}

pytestmark = [pytest.mark.soak, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What the kit says of each, run some at a time."""

    async def run() -> dict[str, Result]:
        slots = asyncio.Semaphore(JOBS)

        async def one(planted: str, trial: str, rules: set[str]) -> Result:
            command = ["env", f"PLANT={planted}", sys.executable, "-m", "tests.kit.client"]
            commands = Commands([*command, "worker"], [*command, "producer"])
            folder = tmp_path_factory.mktemp("kit")
            async with slots:
                # Whether a zombie or a late clock meets its moment is chance: three tries.
                for seed in (1, 2, 3):
                    plan = Plan(
                        *(commands, folder / str(seed), seed),
                        rate=60.0,
                        patience=PATIENCE,
                        without=WITHOUT - CLAIMED.get(planted, set()),
                    )
                    result = await perform(plan, TRIALS[trial])
                    if rules <= {each.rule for each in result.findings}:
                        break
                return result

        work = [one(planted, trial, rules) for planted, (trial, rules) in PLANTED.items()]
        return dict(zip(PLANTED, await asyncio.gather(*work), strict=True))

    return asyncio.run(run())


def test_every_fault_is_planted() -> None:
    assert {each for planted in PLANTED for each in planted.split(",")} == PLANTS.keys()


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_caught(results: dict[str, Result], planted: str) -> None:
    rules = PLANTED[planted][1]
    found = {each.rule: each for each in results[planted].findings}
    assert rules <= found.keys()
    assert all(found[each].evidence for each in rules)


def test_every_trial_says_what_it_does() -> None:
    assert not [each.name for each in TRIALS.values() if not each.does or "\n" in each.does]
