"""The reply of INFO decides whether a server can be used."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.errors import ServerError
from runnel.preflight.server import server_info


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"redis_version": "6.2.14"}, "redis 6.2.14, which is too old"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, "valkey 7.1.9"),
        ({"redis_version": "255"}, "too old"),
        ({}, "too old"),
        ({"redis_version": "7.2.0", "redis_mode": "sentinel"}, "Sentinel"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused(info: dict[str, Any], problem: str) -> None:
    with pytest.raises(ServerError, match=problem):
        server_info(info, "Redis")
