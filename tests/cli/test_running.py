"""What a command says of how its work ended."""

from __future__ import annotations

import asyncio

import pytest

from runnel.cli.running import run_on


def test_user_code_that_cancels_every_task_is_told_and_ends_the_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def handler() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    async def work() -> None:
        await asyncio.gather(handler(), asyncio.Event().wait())

    with pytest.raises(SystemExit) as ended:
        run_on(work(), "redis://localhost", lambda _: None)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: user code cancelled the worker's own task")
