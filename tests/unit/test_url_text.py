"""Secrets of a URL are redacted, and a text that is not a URL is refused with the fix."""

from __future__ import annotations

import pytest

from runnel import App
from runnel.connection.url import check_url
from runnel.connection.url_text import Url, redacted
from runnel.errors import ConfigError

SECRETS = (
    "redis://:SECRET@h:1",
    "redis://SECRET:SECRET@h/0",
    "redis://SE:CR@ET:SECRET@h",
    "rediss://h?password=SECRET&username=SECRET",
    "rediss://h?ssl_password=SECRET",
    "redis+sentinel://h:1,i:2/m?sentinel_username=SECRET&sentinel_password=SECRET",
    "redis+cluster://u:SECRET@h:1,i:2",
    "unix://u:SECRET@/tmp/x.sock",
    "unix:///tmp/x.sock?password=SECRET",
    "redis://:SEC=SECRET@h:1",
    "redis://:a,SECRET=b@h:1",
)
NO_URLS = (
    # Where the password should be, or the host is missing.
    "redis://u:SECRET",
    "redis://h:6379:SECRET",
    "redis://[::1]:SECRET",
    "redis://h/0#SECRET",
    "redis://:SE#SECRET@h",
    "redis://:SE/SECRET@h",
    "redis://:SE?SECRET@h",
    "u:SECRET@h",
    "redis:SECRET@h:6379",
    "redis:/u:SECRET@h",
    "jdbc:redis://:SECRET@h",
    "valkeys://u:SECRET@h",
    "redis-sentinel://SECRET@h1,h2#master",
    # Connection strings of others.
    "h:6380,password=SECRET=,ssl=True,abortConnect=False",
    "redis://h:6380,password=SECRET,ssl=True",
    "a:1,b:2,user=SECRET,password=SECRET",
    "h:6380,password=SE,SECRET,ssl=True",
    "h:6380,password=SE@SECRET,ssl=True",
    "h:6380,ssl=True,password=SE@SECRET",
    "redis://h:6380,ssl=True,password=SE@SECRET",
    "Server=h;Password=SECRET;",
    "Password=SECRET;Server=h",
    "password=SECRET",
    "host=h port=6379 password=SECRET",
    "redis://h/0;password=SECRET",
    # Texts that a shell or a file should have cleaned.
    '"redis://:SECRET@h"',
    "'redis://:SECRET@h'",
    " redis://:SECRET@h",
    "redis://:SECRET@h\n",
    "redis://:SECRET@h:1 redis://:SECRET@i:2",
    "REDIS_URL=redis://:SECRET@h",
    # Options that cannot be used.
    "redis://h?ssl=true&password=SECRET",
    "redis://h?passwd=SECRET",
    "redis://h?credential_provider=SECRET",
    "redis://h?redis_connect_func=SECRET",
)


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_is_never_shown(url: str) -> None:
    check_url(url)
    settings = App("a", redis_url=url).settings
    for text in (redacted(url), repr(Url(url)), f"{settings!r} {settings}"):
        assert "SECRET" not in text
        assert "://" in text


@pytest.mark.parametrize("url", NO_URLS)
def test_a_secret_is_not_shown_when_the_url_is_refused(url: str) -> None:
    assert "SECRET" not in redacted(url)
    with pytest.raises(ConfigError, match="redis_url") as caught:
        App("a", redis_url=url)
    error: BaseException | None = caught.value
    while error is not None:  # As a collector of errors would show it.
        assert "SECRET" not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("h:6380,password=x=,ssl=True,abortConnect=False", "rediss://:PASSWORD@h:6380"),
        ("h:6379,password=x,ssl=False", "redis://:PASSWORD@h:6379"),
        ("redis://h:6380,password=x,ssl=true", "rediss://:PASSWORD@h:6380"),
        ("rediss://h:6380,password=x", "rediss://:PASSWORD@h:6380"),
        ("h:6380,user=u,password=x,ssl=True,defaultDatabase=2", "rediss://USER:PASSWORD@h:6380/2"),
        ("a:1,b:2,password=x,ssl=True", "rediss+cluster://:PASSWORD@a:1,b:2"),
        ("Server=h:6379;Password=x", "redis://:PASSWORD@h:6379"),
        ("password=x,ssl=True", "rediss://:PASSWORD@HOST:PORT"),
        ("h:6379,abortConnect=False", "redis://h:6379"),
    ],
)
def test_the_connection_string_of_another_client_leads_to_a_url(text: str, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(text)
    assert str(caught.value).endswith(f"another client: write it as a URL, {url}")
    check_url(url.replace("PORT", "1"))


@pytest.mark.parametrize(
    ("url", "suggestion"),
    [
        ("redis://h?ssl=true", "use rediss://"),
        ("redis://h?ssl=True", "use rediss://"),
        ("redis://h?tls=1", "use rediss://"),
        ("redis://h?use_ssl=yes", "use rediss://"),
        ("redis+cluster://h?ssl=true", "use rediss+cluster://"),
        ("redis+sentinel://h/m?ssl=true", "use rediss+sentinel://"),
        ("redis://h?ssl_cert_reqs=none", "use rediss://"),
        ("redis://h?ssl=false", "sets ssl, which redis:// does not have: leave it out"),
        ("rediss://h?ssl=true", "sets ssl, which rediss:// does not have: leave it out"),
        ("unix:///x?ssl=true", "sets ssl, which unix:// does not have: leave it out"),
        ("valkey://h", "did you mean redis://?"),
        ("valkeys://h", "did you mean rediss://?"),
        ("REDISS://h", "did you mean rediss://?"),
        ("redis+socket:///x", "did you mean unix://?"),
        ("sentinel://a;sentinel://b", "did you mean redis+sentinel://?"),
        ("tcp://10.0.0.1:6379", "did you mean redis://?"),
        ('"redis://h"', 'has a quote (") that is part of the text'),
        ("redis://a b", "has a space or line end in it"),
        ("redis://h/0?db=1", "names a database twice"),
        ("redis://h/0#x", "has a '#' in it"),
        ("", "is empty: use redis://HOST:PORT"),
        (" ", "is empty: use redis://HOST:PORT"),
    ],
)
def test_a_message_suggests_the_right_url(url: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url)
    assert suggestion in str(caught.value)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://[::1]:6379", "redis://[::1]:6379"),
        ("unix:///tmp/a=b,c.sock?db=1", "unix:///tmp/a=b,c.sock"),
        ("rediss+cluster://u:p@h:1,[::2],i", "rediss+cluster://***@h:1,[::2],i"),
        ("redis://:p=q@h", "redis://***@h"),
    ],
)
def test_the_address_of_a_server_is_shown(url: str, seen: str) -> None:
    assert redacted(url) == seen
    check_url(url)


def test_names_of_sentinels_and_nodes_are_shown() -> None:
    assert redacted("redis+sentinel://u:p@h:1,i:2/m?x=y") == "redis+sentinel://***@h:1,i:2/m"
