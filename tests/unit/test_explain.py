"""Errors of Redis become one sentence with the fix, without secrets; others are left alone."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from runnel.connection.connect import connect
from runnel.connection.explain import explain_redis_error
from runnel.connection.url_text import Url, redacted
from runnel.errors import ConfigError, ServerError, ServerUnreachable
from runnel.preflight.server import check_server
from tests.servers import free_port


@pytest.mark.parametrize(
    ("url", "start"),
    [
        (
            "redis://127.0.0.1:6379",
            "own data (`runnel server` starts a first one, if you have none",
        ),
        ("redis://localhost:7000", "Start it again the way it was started, with its own data, or"),
        ("unix:///tmp/x.sock", "Start it again the way it was started, with its own data, or"),
        ("redis://u:secret@127.0.0.1:6379", "way it was started, with its own data, or"),
        ("redis://10.0.0.1:6379", "See that it runs and can be reached from here, or"),
        ("redis+cluster://127.0.0.1:7", "See that it runs and can be reached from here, or"),
        ("redis+sentinel://:secret@a:1,b/shop/0", "SENTINEL CKQUORUM shop` asks one of them"),
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


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@localhost:1",
        "redis://:secret@localhost:1",
        "reddis://user:secret@localhost",
        "redis://user:se#secret@localhost",
        "redis://user:se/secret@localhost",
        "redis://user:p@secret@localhost:port",
        "redis://localhost:1?password=secret",
        "redis://localhost:1?password=p@secret",
        "redis://user:se?secret@localhost",
        "redis://user:secret://secret@localhost",
        "user:secret@localhost",
    ],
)
async def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in redacted(url)
    with pytest.raises((ConfigError, ServerError)) as refused:
        async with connect(url) as client:
            await check_server(client, url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("origin", "origin_text", "fix"),
    [
        (None, "", "set RUNNEL_REDIS_URL"),
        ("--redis-url", ", as --redis-url says", "correct that"),
        ("RUNNEL_REDIS_URL in the environment", None, "correct that"),
    ],
)
async def test_a_missing_server_is_named_with_the_origin_of_its_url_and_the_fix(
    origin: str | None, origin_text: str | None, fix: str
) -> None:
    address = f"redis://127.0.0.1:{free_port()}"
    url = address if origin is None else Url(address, origin)
    async with connect(url) as client:
        with pytest.raises(ServerUnreachable) as error:
            await check_server(client, url)
    origin_text = f", as {origin} says" if origin_text is None else origin_text
    assert str(error.value).startswith(
        f"No Redis at {address}{origin_text}. "
        f"Start it again the way it was started, with its own data, or {fix}. "
    )


def test_whoever_has_not_said_where_the_server_is_is_asked_that_first() -> None:
    said = str(explain_redis_error(OSError("no route"), Url("redis://127.0.0.1:6379", "")))
    assert said.startswith(
        "No Redis at redis://127.0.0.1:6379, the default. If yours is elsewhere, set "
        "RUNNEL_REDIS_URL; else start it again the way it was started, with its own data "
        "(`runnel server` starts a first one, if you have none yet)."
    )
