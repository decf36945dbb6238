"""Checks and parses the URL of one server, of a Redis Cluster or of sentinels.

==================================  =======================================
``redis://HOST:PORT/DB``            one server (``rediss://`` with TLS)
``unix:///PATH?db=DB``              one server on this machine
``redis+cluster://HOST:PORT,…``     a Redis Cluster, by some of its nodes
``redis+sentinel://HOST:PORT,…/NAME/DB``  the primary that sentinels know as NAME
==================================  =======================================

``rediss+cluster://`` and ``rediss+sentinel://`` are the same with TLS. USER:PASSWORD@ before the
hosts is the login of the data servers. The login of sentinels, if they need one, is in the options
``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel.connection.url_text import redacted, text_problem
from runnel.errors import ConfigError

_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}
#: Options that only Runnel sets: repeats, timeouts and the form of replies depend on them.
RESERVED = (
    "protocol",
    "decode_responses",
    "retry",
    "retry_on_timeout",
    "retry_on_error",
    "health_check_interval",
    "socket_connect_timeout",
    "socket_timeout",
    "client_name",
    "driver_info",
    "lib_name",
    "lib_version",
)
#: What other clients call a scheme that Runnel knows.
_ALSO_KNOWN_AS = {
    "valkey": "redis",
    "valkeys": "rediss",
    "tcp": "redis",
    "tls": "rediss",
    "redis+tls": "rediss",
    "redis+ssl": "rediss",
    "redis-tls": "rediss",
    "redis+socket": "unix",
    "redis-socket": "unix",
    "redis+unix": "unix",
    "sentinel": "redis+sentinel",
    "redis-sentinel": "redis+sentinel",
    "rediss-sentinel": "rediss+sentinel",
    "cluster": "redis+cluster",
    "redis-cluster": "redis+cluster",
    "rediss-cluster": "rediss+cluster",
}
#: Options of redis-py that a URL may set, beside those that begin with ``ssl_``. Others take a
#: value that a URL cannot hold, such as an object.
_OPTIONS = ("db", "username", "password", "max_connections", "socket_keepalive", "socket_read_size")
#: Options by which other clients ask for TLS.
_TLS_OPTIONS = ("ssl", "tls", "use_ssl", "use_tls")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """The parts of a URL. `kind` is server, cluster or sentinel.

    `server_urls` has a plain URL, as redis-py knows it, for each server that the URL names. Those
    of a sentinel URL name the sentinels, with the login and database of the primary. `service` is
    the sentinels' name of the primary, `sentinel_login` their own user and password.
    """

    kind: str
    server_urls: tuple[str, ...]
    service: str = ""
    sentinel_login: tuple[str | None, str | None] = (None, None)


def check_url(url: str) -> str:
    """Return the URL if it can be one of a Redis server. Raises ConfigError with the fix."""
    parse(url)
    return url


def parse(url: str) -> ParsedUrl:
    """Parse a URL. Raises ConfigError with the fix if it cannot be one of a Redis server."""
    problem = text_problem(url) or _scheme_problem(url)
    if problem is None:
        parsed = _split(url)
        problem = _service_problem(url, parsed)
        scheme = url.partition("://")[0]
        for server in parsed.server_urls:
            problem = problem or _server_problem(server, scheme) or _option_problem(server, scheme)
    if problem is not None:
        raise ConfigError(f"redis_url {redacted(url)!r} {problem}")
    return parsed


def _split(url: str) -> ParsedUrl:
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if not kind:
        return ParsedUrl("server", (url,))
    rest, _, query = rest.partition("?")
    login, at, rest = rest.rpartition("@")
    hosts, _, path = rest.partition("/")
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
    options = parse_qsl(query, keep_blank_values=True)
    sentinel = dict(options) if kind == "sentinel" else {}
    kept = [each for each in options if each[0] not in sentinel or each[0][:9] != "sentinel_"]
    ending = ("/" + path if path else "") + ("?" + urlencode(kept) if kept else "")
    servers = tuple(
        f"{base}://{login}{at}{_with_port(each, kind)}{ending}" for each in hosts.split(",")
    )
    return ParsedUrl(
        kind,
        servers,
        service,
        (sentinel.get("sentinel_username"), sentinel.get("sentinel_password")),
    )


def _with_port(host: str, kind: str) -> str:
    """The host with its port; the colons of an IPv6 address are inside brackets."""
    complete = not host or re.search(r":[^\]]*$", host)
    return host if complete else f"{host}:{_PORTS[kind]}"


def _scheme_problem(url: str) -> str | None:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"has no scheme: write redis://{redacted(rest or url)}"
    if scheme not in _SCHEMES:
        plain = _ALSO_KNOWN_AS.get(scheme.lower(), scheme.lower())
        near = difflib.get_close_matches(plain, _SCHEMES, 1)
        hint = f"; did you mean {near[0]}://?" if near else ""
        return (
            "must start with redis://, rediss:// (TLS), unix://, redis+cluster:// or "
            f"redis+sentinel://{hint}"
        )
    return None


def _service_problem(url: str, parsed: ParsedUrl) -> str | None:
    scheme, _, rest = url.partition("://")
    if parsed.kind == "sentinel" and not parsed.service:
        return (
            f"lacks the name of the primary that the sentinels use: use {scheme}://HOST:PORT/NAME"
        )
    hosts = rest.partition("?")[0].rpartition("@")[2].partition("/")[0]
    if parsed.kind == "server" and "," in hosts:
        return "names several hosts, which only redis+cluster:// and redis+sentinel:// do"
    return None


def _server_problem(server: str, scheme: str) -> str | None:
    try:
        parts = urlsplit(server)
        port_is_usable = parts.port is None or parts.port > 0
    except ValueError:
        port_is_usable = False
    if not port_is_usable:
        return (
            "has a port that is not a number from 1 to 65535 "
            "(in a password, write '/', '#' and '?' as %2F, %23 and %3F)"
        )
    if parts.scheme == "unix":
        return _socket_problem(parts)
    if parts.fragment or server.endswith("#"):
        return "has a '#' in it: leave it out (in a password, write %23)"
    if not parts.hostname:
        return f"names no host: use {scheme}://HOST:PORT"
    database = parts.path.strip("/")
    if scheme.endswith("+cluster"):
        if database or "db" in parse_qs(parts.query):
            return f"names a database, of which a cluster has only one: use {scheme}://HOST:PORT"
    elif database and "db" in parse_qs(parts.query):
        return "names a database twice, in its path and as db=: leave one out"
    elif database and not (database.isascii() and database.isdigit()):
        form = "/NAME/0" if scheme.endswith("+sentinel") else "/0"
        return f"has a database that is not a number: use {scheme}://HOST:PORT{form}"
    return None


def _socket_problem(parts: SplitResult) -> str | None:
    if parts.hostname and "@" not in parts.netloc:
        return "has a relative path: use unix:///absolute/path/to/socket"
    if not parts.path.strip("/"):
        return "names no socket: use unix:///path/to/socket"
    return None


def _option_problem(server: str, scheme: str) -> str | None:
    options = parse_qs(urlsplit(server).query)
    for name in RESERVED:
        if name in options:
            return f"sets {name}, which Runnel must choose itself: leave it out"
    for name in options:
        if name not in _OPTIONS and not name.startswith("ssl_"):
            return _unknown_option(name, options[name][0], scheme)
    if not all(number.isascii() and number.isdigit() for number in options.get("db", [])):
        return "has a database that is not a number: use db=0"
    return _refused_option(server, scheme) or _file_problem(options)


def _unknown_option(name: str, value: str, scheme: str) -> str:
    tls = scheme.replace("redis", "rediss", 1)
    meant = name.lower() in _TLS_OPTIONS and value.lower() not in ("false", "0", "no", "off")
    has_tls = tls in _SCHEMES and tls != scheme
    fix = f"use {tls}://" if has_tls and (meant or name.startswith("ssl_")) else "leave it out"
    return f"sets {name}, which {scheme}:// does not have: {fix}"


def _refused_option(server: str, scheme: str) -> str | None:
    """Why redis-py refuses an option. Makes a connection object, and does not connect."""
    try:
        pool = Redis.from_url(server).connection_pool
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if not unknown:
            return f"has an option with an unusable value: correct it or leave it out ({error})"
        return _unknown_option(unknown[1], "", scheme)
    return None


def _file_problem(options: dict[str, list[str]]) -> str | None:
    for name in _FILES:
        for path in options.get(name, ()):
            if not Path(path).is_file():
                return f"sets {name} to {path}, where there is no file"
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        return "sets ssl_keyfile without its certificate: add ssl_certfile"
    return None
