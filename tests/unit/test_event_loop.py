"""Ctrl-C ends what a command runs, whenever it comes, and the event loop stays in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator

import pytest

from runnel.cli.event_loop import Runner


def press() -> None:
    signal.raise_signal(signal.SIGINT)


async def two() -> int:
    return 2


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The handler of Ctrl-C is Python's, before and after."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_cancels_what_runs_and_is_raised_when_that_has_ended() -> None:
    ended = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(press)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with Runner() as loop:
        with pytest.raises(KeyboardInterrupt):
            loop.run(work())
        assert ended
        assert loop.run(two()) == 2


def test_ctrl_c_while_the_loop_stops_leaves_it_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    close = socket.socket.close
    pressed: list[bool] = []

    def close_and_press(self: socket.socket) -> None:
        close(self)
        if not pressed:
            pressed.append(True)
            press()

    with Runner() as loop:
        # uvloop closes a socket for signals when it stops.
        monkeypatch.setattr(socket.socket, "close", close_and_press)
        with pytest.raises(KeyboardInterrupt):
            loop.run(two())
        assert pressed
        assert loop.run(two()) == 2


def test_ctrl_c_with_the_last_result_is_raised() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: press())

    with Runner() as loop:
        with pytest.raises(KeyboardInterrupt):
            loop.run(work())
        assert loop.run(two()) == 2


def test_a_second_ctrl_c_does_not_wait() -> None:
    async def stubborn() -> None:
        asyncio.get_running_loop().call_soon(press)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_soon(press)
            await asyncio.Event().wait()

    with Runner() as loop:
        with pytest.raises(KeyboardInterrupt):
            loop.run(stubborn())
        assert loop.run(two()) == 2


def test_ctrl_c_between_two_coroutines_is_raised_at_once() -> None:
    with Runner() as loop:
        loop.run(two())
        with pytest.raises(KeyboardInterrupt):
            press()


def test_ctrl_c_while_the_loop_is_closed_is_raised_after_that() -> None:
    async def left_behind() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            press()

    async def work() -> None:
        asyncio.get_running_loop().create_task(left_behind())
        await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt), Runner() as loop:
        loop.run(work())


def test_the_handler_of_the_program_around_stays() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with Runner() as loop:
            press()
            assert loop.run(two()) == 2
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert heard == [signal.SIGINT]
