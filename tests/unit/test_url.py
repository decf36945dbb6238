"""URLs of servers, clusters and sentinels are parsed, or refused in a sentence with the fix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runnel.connection.connect import connect
from runnel.connection.url import ParsedUrl, check_url, parse
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("redis://h/1", ParsedUrl("server", ("redis://h/1",))),
        ("redis+cluster://h", ParsedUrl("cluster", ("redis://h:6379",))),
        (
            "rediss+cluster://user:p%40ss@h:1,[::1],[::2]:3?ssl_cert_reqs=none",
            ParsedUrl(
                "cluster",
                (
                    "rediss://user:p%40ss@h:1?ssl_cert_reqs=none",
                    "rediss://user:p%40ss@[::1]:6379?ssl_cert_reqs=none",
                    "rediss://user:p%40ss@[::2]:3?ssl_cert_reqs=none",
                ),
            ),
        ),
        (
            "redis+sentinel://h,i:5/mymaster",
            ParsedUrl("sentinel", ("redis://h:26379", "redis://i:5"), "mymaster"),
        ),
        (
            "redis+sentinel://user:pass@h/mymaster/3?sentinel_username=u&sentinel_password=p%26",
            ParsedUrl("sentinel", ("redis://user:pass@h:26379/3",), "mymaster", ("u", "p&")),
        ),
        ("redis+sentinel://h/mymaster?db=2", None),
    ],
)
def test_a_url_is_parsed(url: str, parsed: ParsedUrl | None) -> None:
    assert parsed is None or parse(url) == parsed
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is empty: use redis://HOST:PORT"),
        ("localhost:6379", "write redis://localhost:6379"),
        ("reddis://localhost", "did you mean redis://?"),
        ("redis+tls://localhost", "must start with redis://, rediss:// (TLS), unix://, redis+"),
        ("http://localhost", "must start with"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://localhost:port", "a port that is not a number"),
        ("redis://localhost:0", "a port that is not a number"),
        ("redis://localhost:65536", "a port that is not a number"),
        ("redis://[::1", "a port that is not a number"),
        ("redis://localhost/orders", "a database that is not a number"),
        ("redis://localhost/-1", "a database that is not a number"),
        ("redis://localhost?db=orders", "a database that is not a number"),
        ("redis://localhost?db=²", "a database that is not a number"),
        ("redis://localhost?sockettimeout=5", "sets sockettimeout, which redis:// does not have"),
        ("redis://localhost?ssl_cert_reqs=none", "which redis:// does not have"),
        ("redis://localhost?max_connections=many", "'max_connections'"),
        ("rediss://localhost?ssl_cert_reqs=maybe", "an unusable value"),
        ("redis://localhost?retry_on_timeout=yes", "sets retry_on_timeout"),
        ("redis://localhost?decode_responses=yes", "sets decode_responses"),
        ("redis://localhost?protocol=3", "sets protocol"),
        ("unix://", "names no socket"),
        ("unix:///", "names no socket"),
        ("unix://.runnel/s.sock", "a relative path"),
        ("redis+clutser://h", "did you mean redis+cluster://?"),
        ("redis-sentinel://h/m", "did you mean redis+sentinel://?"),
        (
            "unix+cluster://h",
            "must start with redis://, rediss:// (TLS), unix://, redis+cluster://",
        ),
        ("redis+cluster://", "names no host: use redis+cluster://HOST:PORT"),
        ("redis+cluster://h:1,", "names no host"),
        ("redis+cluster://h:1,i:port", "a port that is not a number"),
        ("redis+cluster://h:1/0", "names a database, of which a cluster has only one"),
        ("redis+cluster://h:1?db=0", "names a database, of which a cluster has only one"),
        ("redis+cluster://h:1?ssl_cert_reqs=none", "does not have: use rediss+cluster://"),
        ("redis+cluster://h:1?sentinel_password=x", "sets sentinel_password, which redis+cluster"),
        (
            "redis+sentinel://h:1",
            "lacks the name of the primary that the sentinels use: use redis+sentinel://",
        ),
        ("redis+sentinel://h:1/", "lacks the name of the primary that the sentinels use"),
        ("redis+sentinel://h:1/m/x", "use redis+sentinel://HOST:PORT/NAME/0"),
        ("redis+sentinel://h:1/m?retry=1", "sets retry, which Runnel must choose itself"),
        (
            "redis://h:1,i:2",
            "names several hosts, which only redis+cluster:// and redis+sentinel://",
        ),
        ("redis://h?ssl_ca_certs=/x", "does not have: use rediss://"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "to /nowhere/ca.pem, where there is no file"),
        ("rediss+cluster://h?ssl_certfile=/nowhere/c.pem", "sets ssl_certfile to /nowhere/c.pem"),
    ],
)
def test_a_wrong_url_is_refused_with_the_fix(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match="redis_url") as error:
        check_url(url)
    assert problem in str(error.value)
    with pytest.raises(ConfigError):
        connect(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/15",
        "rediss://user:secret@example.org:6380/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
        "unix://user:secret@/run/redis.sock",
    ],
)
def test_a_usable_url_is_returned_as_it_is(url: str) -> None:
    assert check_url(url) == url


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "client.key"
    key.touch()
    with pytest.raises(ConfigError, match="add ssl_certfile"):
        check_url(f"rediss://h?ssl_keyfile={key}")


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://user:secret@h:1,i:2",
        "redis+sentinel://user:secret@h:1,i:2/mymaster",
        "redis+sentinel://h:1/mymaster?sentinel_password=secret",
        "redis+sentinel://:secret@h:1",
        "redis+sentinel://user:se?secret@h:1/mymaster",
        "redis+cluster://user:se,secret@h:port",
        "redis+cluster://user:se/secret@h:1",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in redacted(url) + refusal(url)


def refusal(url: str) -> str:
    """Why a URL is refused, if it is."""
    try:
        check_url(url)
    except ConfigError as error:
        return str(error)
    return ""


def test_every_url_in_the_docs_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    text = (Path(__file__).parent.parent.parent / "docs" / "deployments.md").read_text()
    found = [
        each for each in re.findall(r"(?:rediss?|unix)\S*?://[^\s`]+", text) if "…" not in each
    ]
    assert len(found) == 7
    for url in found:
        check_url(re.sub(r"/etc/[^&]+", str(file), url))
