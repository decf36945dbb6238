"""Commands that do not do what the kit expects: what it says then."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from runnel import protocol
from runnel.conformance import actors, running
from runnel.conformance.contract import CONTRACT, PARTS, SIZE
from runnel.conformance.rules import Finding
from runnel.conformance.running import Plan, perform
from runnel.conformance.scene import Commands, Scene
from runnel.conformance.trials import TRIALS

CLIENT = Path(__file__).parent / "client.py"
WORKER = (sys.executable, str(CLIENT), "worker")


async def findings(
    folder: Path,
    *worker: str,
    producer: tuple[str, ...] = (),
    patience: float = 20.0,
    rate: float = 200.0,
) -> list[Finding]:
    commands = Commands(worker, producer or None)
    plan = Plan(commands, folder, 1, rate=rate, patience=patience)
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


@pytest.mark.timeout(60)
async def test_a_worker_that_does_nothing_while_partitions_get_full(tmp_path: Path) -> None:
    found = await findings(tmp_path, "sleep", "100", patience=3.0, rate=100_000.0)
    assert "worker-1 has called no script at RUNNEL_REDIS_URL within 3 s" in {
        each.text for each in found
    }
    history = (tmp_path / "calm/history.txt").read_text()
    assert history.count("kit: appended") >= SIZE, "else none was full"


@pytest.mark.timeout(60)
async def test_a_trial_that_cannot_send_ends_and_says_so(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (Random(1), 0.2, 100_000.0, 0.2, lambda: None)
    async with Scene(Commands(WORKER), url, tmp_path, *args) as scene:
        await scene.watch.call(protocol.declare(PARTS[0].prefix, CONTRACT))
        records = [scene.records.next("k-1") for _ in range(SIZE + 1)]
        for some in (records[: SIZE - 1], records[SIZE - 1 : SIZE]):
            await scene.send(some)
        with pytest.raises(TimeoutError, match="for 0 s a partition had no room"):
            await scene.send(records[SIZE:])
        monkeypatch.setattr(scene.records, "next", lambda: records[-1])
        scene.begin()
        await asyncio.sleep(0)  # The feeder begins, and waits for room.
        with pytest.raises(TimeoutError):
            async with scene.no_load():
                pass
        await scene.end_load()


async def test_a_trial_without_room_has_a_finding(tmp_path: Path) -> None:
    async def act(_: Scene) -> None:
        raise TimeoutError("no room")

    commands = Commands(WORKER)
    plan = Plan(commands, tmp_path, 1)
    result = await perform(plan, replace(TRIALS["calm"], act=act))
    assert ("outcome", "no room") in {(each.rule, each.text) for each in result.findings}


@pytest.mark.timeout(60)
async def test_a_worker_that_never_stops_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "MOST_OUTPUT", 3 * 2**20)
    monkeypatch.setattr(running, "MOST_OUTPUT", 3 * 2**20)
    found = await findings(tmp_path, "yes", patience=2.0)
    first = found[0]
    assert (first.rule, first.text) == (
        "contract",
        "a command wrote more than 3 MB, and was killed",
    )
    assert not first.timed
