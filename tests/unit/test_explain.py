"""Errors of Redis become one sentence with the fix; other errors are left alone."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from runnel.connection.explain import explain_redis_error


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("redis://127.0.0.1:6379", "Start one with `runnel server`, or"),
        ("redis://localhost:7000", "Start one with `runnel server --redis-url redis://localhost:7"),
        ("unix:///tmp/x.sock", "Start one with `runnel server --redis-url unix:///tmp/x.sock`, or"),
        ("redis://u:secret@127.0.0.1:7", "Start one with `runnel server`, or"),
        ("redis://10.0.0.1:6379", "See that it runs and can be reached from here, or"),
        ("redis+cluster://127.0.0.1:7", "See that it runs and can be reached from here, or"),
    ],
)
def test_only_here_a_server_can_be_started(url: str, start: str) -> None:
    text = str(explain_redis_error(OSError("no route"), url))
    assert start in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "cannot save to disk"),
        (ResponseError("ERR something"), "says: ERR something"),
        (OSError("no route"), "No Redis at"),
    ],
)
def test_other_errors_are_explained_in_a_sentence(error: Exception, problem: str) -> None:
    assert problem in str(explain_redis_error(error, "redis://localhost"))


def test_what_is_no_error_of_redis_is_left_alone() -> None:
    assert explain_redis_error(ValueError("mine"), "redis://localhost") is None
