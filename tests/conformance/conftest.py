"""A server for the cases: they delete everything in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Server


@pytest.fixture(scope="module")
def case_server() -> Iterator[Server]:
    """One server for all cases of a module."""
    with Server(appendonly="no") as server:
        yield server
