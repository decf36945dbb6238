"""Fixtures for tests with worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.worker.workers import Workers


@pytest.fixture
def workers(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes on the shared server."""
    found = Workers(redis_url, tmp_path)
    yield found
    found.close()
