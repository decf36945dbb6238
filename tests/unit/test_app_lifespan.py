"""What may be declared for the start and the end of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runnel import App, ConfigError, Worker
from runnel.app_lifespan import stopping_here


@pytest.fixture
def app() -> App:
    return App("shop")


async def two_arguments(first: int, second: int) -> AsyncIterator[None]:
    yield


async def no_yield() -> None:
    pass


def not_async() -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_yield, "lifespan no_yield must be an `async def` with one `yield`"),
        (not_async, "lifespan not_async must be an `async def` with one `yield`"),
        (two_arguments, r"its signature is \(first: .*, second: .*\)"),
        (asynccontextmanager(two_arguments)(1, 2), "takes a function that makes"),
        (5, "takes a function that makes an async context manager, not 5"),
    ],
)
def test_a_lifespan_is_refused_that_cannot_work(app: App, function: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        app.lifespan(function)


def test_an_app_has_one_lifespan(app: App) -> None:
    @app.lifespan
    async def first() -> AsyncIterator[None]:
        yield

    with pytest.raises(ConfigError, match="app shop has two lifespans, and first is the second"):
        app.lifespan(first)


def needs_one(argument: int) -> None: ...


@pytest.mark.parametrize("kind", ["on_startup", "on_shutdown"])
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (not_async, "not_async has a `yield`; @app.lifespan takes such ones"),
        (needs_one, "needs_one is called without arguments, and its signature is"),
        (App, "takes a function, not the class App"),
        ("open", "takes a function, not 'open'"),
    ],
)
def test_a_function_is_refused_that_cannot_work(
    app: App, kind: str, function: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=f"@app.{kind}.*{said}"):
        getattr(app, kind)(function)


@pytest.mark.parametrize("kind", ["on_startup", "on_shutdown"])
def test_a_name_is_declared_once(app: App, kind: str) -> None:
    declare: Callable[[Any], Any] = getattr(app, kind)
    assert declare(no_yield) is no_yield
    with pytest.raises(ConfigError, match=f"two functions named 'no_yield' for @app.{kind}"):
        declare(no_yield)


def test_stopping_is_that_of_the_worker_around() -> None:
    app, other = App("shop"), asyncio.Event()
    own = app.stopping
    token = stopping_here.set(other)
    assert app.stopping is other
    stopping_here.reset(token)
    assert app.stopping is own


def test_a_worker_of_the_app_runs_what_it_is_told(app: App) -> None:
    assert isinstance(app.worker(), Worker)
    with pytest.raises(ConfigError, match="has no processor 'mail'"):
        app.worker(["mail"])
    with pytest.raises(ConfigError, match="member"):
        app.worker(name="not a name")
