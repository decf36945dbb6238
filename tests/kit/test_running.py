"""Runs of trials, and their servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from runnel.conformance import running, watch
from runnel.conformance.rules import Finding
from runnel.conformance.running import Plan, Result, durable_server, perform, run, throwaway_server
from runnel.conformance.scene import Commands, Scene
from runnel.conformance.trial import Trial
from runnel.conformance.trials import TRIALS
from runnel.connection.connect import connect_sync
from runnel.errors import ConfigError


def test_a_durable_server_keeps_what_it_has_over_its_death(tmp_path: Path) -> None:
    with durable_server(tmp_path) as (url, restart), connect_sync(url) as client:
        client.set("key", "value")
        client.script_load("return 1")
        restart()
        assert client.get("key") == b"value"
        assert client.script_exists("e0e1f9fabfc9d4800c877a703b823ac0578ff8db") == [False]
    with connect_sync(url) as client, pytest.raises(RedisError):
        client.ping()


def test_a_throwaway_server_is_not_restarted() -> None:
    with throwaway_server() as (_, restart), pytest.raises(AssertionError):
        restart()


async def test_an_inconclusive_trial_runs_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[str] = []

    async def perform(plan: Plan, trial: Trial, number: int, suffix: str = "") -> Result:
        folders.append(f"{trial.name}{suffix}")
        late = [Finding("outcome", "late", timed=True)]
        return Result(trial, late if trial.name == "calm" else [], stalls=["it stood still"])

    monkeypatch.setattr(running, "perform", perform)
    seen: list[tuple[str, bool]] = []
    plan = Plan(Commands(["true"]), tmp_path, 1, jobs=1)
    results = await run(
        plan,
        [TRIALS["calm"], TRIALS["kill"]],
        lambda result: seen.append((result.trial.name, result.again)),
    )
    assert folders == ["calm", "calm-again", "kill"]
    assert seen == [("calm", True), ("calm", False), ("kill", False)]
    assert [each.inconclusive for each in results] == [True, False]


async def test_a_server_that_is_gone_ends_its_trial_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_STEADY", 0.1)

    async def act(scene: Scene) -> None:
        await scene.watch.ask("SHUTDOWN", "NOSAVE")

    plan = Plan(Commands(["true"]), tmp_path, 1)
    result = await perform(plan, Trial("gone", "", "W1", act, workers=0))
    (found,) = result.findings
    assert found.text.startswith("the server of the trial does not answer the kit: ")
    assert "fault: SHUTDOWN NOSAVE" in (tmp_path / "gone/history.txt").read_text()


async def test_a_command_that_cannot_be_started_ends_the_run(tmp_path: Path) -> None:
    plan = Plan(Commands(["no-such-program"]), tmp_path, 1)
    with pytest.raises(ConfigError, match="'no-such-program' cannot be started"):
        await run(plan, list(TRIALS.values()), lambda result: None)
    assert len(asyncio.all_tasks()) == 1


async def test_an_interrupted_trial_leaves_its_history(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def act(scene: Scene) -> None:
        began.set()
        await asyncio.Event().wait()

    trial = Trial("endless", "Never ends", "C1", act, workers=0)
    work = asyncio.create_task(perform(Plan(Commands(["true"]), tmp_path, 1), trial))
    await began.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert "kit: declare" in (tmp_path / "endless" / "history.txt").read_text()
