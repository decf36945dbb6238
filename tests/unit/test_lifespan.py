"""Startup and shutdown functions, and the lifespan around them, without a worker."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from runnel import App, ConfigError, HandlerExit, LifespanFailed
from runnel import lifespan as lifespan_module


class Shop:
    """An app that notes what is called."""

    def __init__(self) -> None:
        self.app = App("shop")
        self.calls: list[str] = []
        self.app.lifespan(self.around)
        self.app.on_startup(self.first)
        self.app.on_startup(self.second)
        self.app.on_shutdown(self.close_first)
        self.app.on_shutdown(self.close_second)

    @asynccontextmanager
    async def around(self) -> AsyncIterator[dict[str, Any]]:
        self.calls.append("enter")
        try:
            yield {"pool": 5}
        finally:
            self.calls.append("leave")

    async def first(self) -> None:
        self.calls.append("first")

    def second(self) -> None:
        self.calls.append("second")
        assert threading.current_thread() is not threading.main_thread()

    def close_first(self) -> None:
        self.calls.append("close_first")

    async def close_second(self) -> None:
        self.calls.append("close_second")


UP, DOWN = ["enter", "first", "second"], ["close_first", "close_second", "leave"]


async def test_everything_is_called_in_its_order_and_state_is_there_meanwhile() -> None:
    shop = Shop()
    for _ in range(2):
        shop.calls.clear()
        async with shop.app.hooks.running() as state:
            assert shop.calls == UP
            assert (state.pool, shop.app.state.pool) == (5, 5)
        assert shop.calls == [*UP, *DOWN]
        assert not vars(shop.app.state)


async def test_workers_in_one_loop_share_a_run() -> None:
    shop = Shop()
    one, two = await shop.app.hooks.begin(), await shop.app.hooks.begin()
    await asyncio.gather(one.started(), two.started())
    await one.end(1)
    assert shop.calls == UP
    await two.end(1)
    assert shop.calls == [*UP, *DOWN]


async def test_one_that_begins_while_another_ends_waits_and_begins_anew() -> None:
    shop, go_on = Shop(), asyncio.Event()

    async def slow() -> None:
        await go_on.wait()

    shop.app.on_shutdown(slow)
    one = await shop.app.hooks.begin()
    await one.started()
    ending = asyncio.create_task(one.end(30))
    beginning = asyncio.create_task(shop.app.hooks.begin())
    await asyncio.sleep(0)
    go_on.set()
    two = await beginning
    await ending
    assert two is not one
    await two.started()
    await two.end(1)
    assert shop.calls == [*UP, *DOWN] * 2


async def test_another_loop_is_refused_while_it_runs() -> None:
    shop = Shop()

    async def elsewhere() -> None:
        async with shop.app.hooks.running():
            pass

    async with shop.app.hooks.running():
        with pytest.raises(ConfigError, match="lifespan of app shop runs in another event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere())
    await asyncio.to_thread(asyncio.run, elsewhere())


class OwnError(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        OSError(111, "refused"),
        asyncio.CancelledError(),
        StopIteration(),
        OwnError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("plain", [False, True])
async def test_a_failing_start_shuts_down_what_was_started(
    error: BaseException, plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop()

    async def fails() -> None:
        raise error

    def fails_plainly() -> None:
        raise error

    shop.app.on_startup(fails_plainly if plain else fails)
    shop.app.on_startup(shop.close_first)
    with pytest.raises(LifespanFailed, match="startup function fails") as failed:
        async with shop.app.hooks.running():
            raise AssertionError("it began")
    if not isinstance(error, StopIteration):  # No future can hold it.
        assert failed.value.__cause__ is error
    assert shop.calls == [*UP, *DOWN]
    assert "startup function fails" in caplog.text


async def test_a_lifespan_that_swallows_the_failure_of_the_start_does_not_hide_it() -> None:
    app = App("shop")

    @app.lifespan
    async def around() -> AsyncIterator[None]:
        with suppress(ValueError):
            yield

    @app.on_startup
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(LifespanFailed, match="startup function fails failed: ValueError: no"):
        async with app.hooks.running():
            raise AssertionError("it began")


@pytest.mark.parametrize("grouped", [False, True])
async def test_sys_exit_at_the_start_is_the_exit_of_the_worker(grouped: bool) -> None:
    app = App("shop")

    @app.on_startup
    async def leave() -> None:
        if grouped:
            raise BaseExceptionGroup("all", [SystemExit(7)])
        sys.exit(7)

    with pytest.raises(HandlerExit) as exit_:
        async with app.hooks.running():
            pass
    assert exit_.value.code == 7


async def test_a_start_that_waits_for_itself_is_refused() -> None:
    app = App("shop")

    @app.on_startup
    async def start() -> None:
        async with app.hooks.running():
            pass

    with pytest.raises(LifespanFailed, match="each would wait for the other"):
        async with app.hooks.running():
            pass


@pytest.mark.parametrize("number", [0, 2])
async def test_a_lifespan_has_one_yield(number: int) -> None:
    app = App("shop")

    @app.lifespan
    async def around() -> AsyncIterator[None]:
        for _ in range(number):
            yield

    said = "second `yield`: take it out" if number else "returned before its `yield`"
    with pytest.raises(LifespanFailed, match=said):
        async with app.hooks.running():
            pass


async def test_a_lifespan_yields_nothing_or_names() -> None:
    app = App("shop")

    @app.lifespan
    async def around(given: App) -> AsyncIterator[Any]:
        assert given is app
        yield 5

    with pytest.raises(LifespanFailed, match="it yielded int: yield nothing, or a dict of names"):
        async with app.hooks.running():
            pass


async def test_a_function_that_returns_no_context_manager_is_named() -> None:
    app = App("shop")
    app.lifespan(lambda: 5)
    with pytest.raises(LifespanFailed, match="it returned 5, not an async context manager"):
        async with app.hooks.running():
            pass


async def test_a_failing_shutdown_is_raised_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop()

    @shop.app.on_shutdown
    async def fails() -> None:
        raise ValueError("no")

    shop.app.on_shutdown(shop.first)
    with pytest.raises(LifespanFailed, match="shutdown function fails failed: ValueError: no"):
        async with shop.app.hooks.running():
            shop.calls.clear()
    assert shop.calls == ["close_first", "close_second", "first", "leave"]
    assert "shutdown function fails failed: ValueError: no" in caplog.text


async def test_the_error_of_the_block_goes_before_that_of_a_shutdown_function() -> None:
    app = App("shop")

    @app.on_shutdown
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(KeyError):
        async with app.hooks.running():
            raise KeyError


async def test_what_hangs_at_the_end_is_cut_off_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop, cut = Shop(), asyncio.Event()

    @shop.app.on_shutdown
    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    shop.app.on_shutdown(shop.first)
    async with shop.app.hooks.running(timeout=0.01):
        shop.calls.clear()
    assert cut.is_set()
    assert shop.calls == ["close_first", "close_second", "leave"]
    assert "cut off, because shutdown_timeout is over: shutdown function hangs" in caplog.text
    assert "shutdown function first, which was not called" in caplog.text


async def test_a_start_that_is_stopped_is_cancelled_and_shut_down() -> None:
    shop, began = Shop(), asyncio.Event()

    @shop.app.on_startup
    async def hangs() -> None:
        began.set()
        await asyncio.Event().wait()

    run = await shop.app.hooks.begin()
    await began.wait()
    assert run.unfinished() == ["startup function hangs"]
    await run.end(30)
    assert shop.calls == [*UP, *DOWN]


async def test_a_start_that_takes_long_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan_module, "PATIENCE", 0.01)
    app = App("shop")

    @app.on_startup
    async def slow() -> None:
        while "startup function slow has not returned for" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async with app.hooks.running():
        pass


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_lifespan_whose_own_task_fails_says_so_at_once_and_ends_last(
    swallowed: bool,
) -> None:
    shop, fail = App("shop"), asyncio.Event()
    left = False

    async def background() -> None:
        await fail.wait()
        raise ValueError("no")

    @shop.lifespan
    async def around() -> AsyncIterator[None]:
        nonlocal left
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(background())
                yield
        except BaseExceptionGroup:
            if not swallowed:
                raise
        finally:
            left = True

    run = await shop.hooks.begin()
    await run.started()
    fail.set()
    await run.broke.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not left, "it waits for the worker"
    said = "it was cancelled, and not by the worker" if swallowed else "failed: ValueError: no"
    with pytest.raises(LifespanFailed, match=said):
        await run.end(30)
    assert left
