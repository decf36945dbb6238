"""Fixtures for tests of single modules, how generated examples run here, and that no test here
starts a server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import settings

from runnel.embedded import local_server
from tests.servers import Server

#: An example may take as long as a busy machine makes it.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


def _refuse(*_: Any, **__: Any) -> NoReturn:
    pytest.fail("a test in tests/unit starts a server: move it to tests/integration")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a server."""
    monkeypatch.setattr(Server, "start", _refuse)
    monkeypatch.setattr(local_server, "_spawn", _refuse)


@pytest.fixture(scope="session")
def redis_url() -> NoReturn:
    """Fail a test that uses the shared server."""
    _refuse()


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What was logged."""
    kept, logger = Kept(), logging.getLogger("runnel")
    before = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept.records
    logger.removeHandler(kept)
    logger.setLevel(before)
