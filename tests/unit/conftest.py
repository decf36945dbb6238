"""Fixtures for tests of single modules, and how generated examples run here."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

#: An example may take as long as a busy machine makes it.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


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
