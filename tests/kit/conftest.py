"""A server, and processes of commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from runnel.conformance.actors import Actor
from runnel.conformance.history import History
from runnel.conformance.proxy import Proxy
from runnel.conformance.watch import Watch
from runnel.testing.throwaway_server import ThrowawayServer


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a server that is empty."""
    with ThrowawayServer() as url:
        yield url


@pytest.fixture
async def watch(url: str) -> AsyncIterator[Watch]:
    """The kit's own look at the server."""
    watch = Watch(url, History())
    yield watch
    await watch.close()


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    """A proxy of the server."""
    async with Proxy(url.removeprefix("unix://"), "w1", History(), lambda: None) as proxy:
        yield proxy


Start = Callable[..., Actor]


@pytest.fixture
async def start(tmp_path: Path, proxy: Proxy) -> AsyncIterator[Start]:
    """Starts a command."""
    started: list[Actor] = []

    def start(*command: str, producer: bool = False) -> Actor:
        actor = Actor("w1", command, tmp_path, History(), proxy, 1.5, "m1", producer)
        started.append(actor)
        return actor

    yield start
    for each in started:
        each.close()
