"""How a command reports the end of its work."""

from __future__ import annotations

import asyncio

import pytest

from runnel.cli.running import run_on
from runnel.errors import HandlerExit


def test_user_code_that_cancels_every_task_is_reported_and_ends_the_worker(
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


def test_user_code_that_stops_the_event_loop_does_not_stop_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> int:
        for _ in range(3):
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return 7

    assert run_on(work(), "redis://localhost", lambda _: None) == 7
    assert caplog.text.count("user code stopped the worker's event loop") == 1


@pytest.mark.parametrize(
    ("code", "ends"), [(3, 3), (0, 0), (None, 0), (256, 1), (-1, 255), (259, 3), ("x", 1)]
)
def test_the_code_of_sys_exit_fits_into_eight_bits(code: object, ends: int) -> None:
    assert HandlerExit.of(SystemExit(code)).code == ends
