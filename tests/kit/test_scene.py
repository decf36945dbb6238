"""Commands that do not do what the kit expects: what it says then."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runnel.conformance.rules import Finding
from runnel.conformance.running import Plan, perform
from runnel.conformance.scene import Commands
from runnel.conformance.trials import TRIALS

CLIENT = Path(__file__).parent / "client.py"
WORKER = (sys.executable, str(CLIENT), "worker")


async def findings(
    folder: Path, *worker: str, producer: tuple[str, ...] = (), patience: float = 20.0
) -> list[Finding]:
    commands = Commands(worker, producer or None)
    plan = Plan(commands, folder, 1, rate=200.0, patience=patience)
    return (await perform(plan, TRIALS["calm"])).findings


async def test_a_worker_that_ends_at_once(tmp_path: Path) -> None:
    found = await findings(tmp_path, "sh", "-c", "echo no way >&2; exit 3")
    ended = [each for each in found if "ended by itself" in each.text]
    assert [(each.rule, each.text) for each in ended] == [
        ("contract", "worker-1 ended by itself"),
        ("contract", "worker-2 ended by itself"),
    ]
    assert ended[0].evidence == ("exit code 3; the end of its stderr: no way",)


async def test_a_worker_that_does_not_come_to_redis(tmp_path: Path) -> None:
    found = {each.text: each for each in await findings(tmp_path, "sleep", "100", patience=2.0)}
    silent = found["worker-1 has called no script at RUNNEL_REDIS_URL within 2 s"]
    assert (silent.rule, silent.timed) == ("contract", True)
    assert silent.evidence[0].startswith("partitions are held: 0 by nobody, 1 by nobody")


@pytest.mark.parametrize("how", ["exit 4", "cat >/dev/null; exit 0"])
async def test_a_producer_that_sends_nothing(tmp_path: Path, how: str) -> None:
    found = await findings(tmp_path, *WORKER, producer=("sh", "-c", how))
    texts = {each.text: each.rule for each in found}
    silent = texts.pop("records were neither acknowledged nor given up", "")
    if how == "exit 4":
        assert texts == {"producer-1 ended by itself": "contract"}
    else:
        assert (silent, texts) == ("contract", {})
