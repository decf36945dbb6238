"""The one place that builds Redis clients, and says in a sentence why one cannot be used.

A client must not retry by itself: redis-py's defaults send a script again whose reply was lost, so
that it runs twice. Runnel repeats only calls that are safe to repeat, and knows that it does.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)
from redis.retry import Retry as SyncRetry

from runnel.errors import ConfigError, ServerError, ServerUnreachable
from runnel.wire import Client

_SCHEMES = ("redis", "rediss", "unix")
#: Seconds to wait for a connection: long enough for another continent, short enough to be told.
CONNECT_TIMEOUT = 2.0
#: Seconds to wait for a server that is reading its data from disk.
LOADING_TIMEOUT = 30.0
_FLOORS = {"redis": (7, 0), "valkey": (7, 2)}


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What answers: `kind` is redis or valkey, `mode` standalone or cluster.

    `version` is None if the user may not ask. `warnings` are sentences about what could lose
    events or could not be checked.
    """

    kind: str
    version: str | None
    mode: str
    warnings: tuple[str, ...] = ()


def check_url(url: str) -> str:
    """Return the URL if it can be one of a Redis server. Raises ConfigError with the fix."""
    problem = _url_problem(url) or _refused_option(url)
    if problem:
        raise ConfigError(f"redis_url {shown(url)!r} {problem}")
    return url


def _url_problem(url: str) -> str | None:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"has no scheme: write redis://{shown(rest or url)}"
    if scheme not in _SCHEMES:
        near = difflib.get_close_matches(scheme, _SCHEMES, 1)
        hint = f"; did you mean {near[0]}://?" if near else ""
        return f"must start with redis://, rediss:// or unix://{hint}"
    try:
        parts = urlsplit(url)
        port_is_usable = parts.port is None or parts.port > 0
    except ValueError:
        port_is_usable = False
    if not port_is_usable:
        return (
            "has a port that is no number from 1 to 65535 "
            "(in a password, write '/', '#' and '?' as %2F, %23 and %3F)"
        )
    return _place_problem(parts) or _option_problem(parts.query)


def _place_problem(parts: SplitResult) -> str | None:
    if parts.scheme == "unix":
        if parts.hostname and "@" not in parts.netloc:
            return "has a relative path: use unix:///absolute/path/to/socket"
        if not parts.path.strip("/"):
            return "names no socket: use unix:///path/to/socket"
        return None
    if not parts.hostname:
        return "names no host: use redis://HOST:PORT"
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        return "has a database that is no number: use redis://HOST:PORT/0"
    return None


def _option_problem(query: str) -> str | None:
    options = parse_qs(query)
    for name in (*_options(None, None), "retry"):
        if name in options:
            return f"sets {name}, which Runnel must choose itself: leave it out"
    if not all(number.isascii() and number.isdigit() for number in options.get("db", [])):
        return "has a database that is no number: use db=0"
    return None


def _refused_option(url: str) -> str | None:
    """What redis-py has against an option; found without connecting, by making a connection."""
    try:
        pool = Redis.from_url(url).connection_pool
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            scheme = url.partition("://")[0]
            return f"sets {unknown[1]}, which {scheme}:// does not have: leave it out"
        return f"has an option with an unusable value: correct it or leave it out ({error})"
    return None


def shown(url: str) -> str:
    """The URL without user, password and options, fit for a message."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    login, at, place = rest.rpartition("@")
    if "?" in login:  # The '@' may be in a password among the options: then what follows is secret.
        return f"{scheme}{separator}***"
    return scheme + separator + ("***@" if at else "") + place.partition("?")[0]


def connect(
    url: str, socket_timeout: float | None = 5.0, *, client_name: str | None = None
) -> Client:
    """An asyncio client; it connects when first used.

    `socket_timeout` is in seconds, the longest blocking read plus a margin, or None for no limit.
    `client_name` is what CLIENT LIST shows. Raises ConfigError for a URL that cannot work.
    """
    options = _options(socket_timeout, client_name)
    client = Client.from_url(check_url(url), retry=Retry(NoBackoff(), 0), **options)
    assert isinstance(client, Client)
    return client


def connect_sync(
    url: str, socket_timeout: float | None = 5.0, *, client_name: str | None = None
) -> SyncRedis:
    """The same client for threads."""
    options = _options(socket_timeout, client_name)
    return SyncRedis.from_url(check_url(url), retry=SyncRetry(NoBackoff(), 0), **options)


def _options(socket_timeout: float | None, client_name: str | None) -> dict[str, Any]:
    """What every client has in common. Each of redis-py's defaults that matters is spelled out:
    they change between its versions."""
    return {
        "protocol": 2,
        "decode_responses": False,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": socket_timeout,
        "client_name": client_name,
        **_UNNAMED_LIBRARY,
    }


# Without it every connection begins with CLIENT SETINFO, which some servers and users refuse.
_UNNAMED_LIBRARY: dict[str, None] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)


def translate(error: BaseException, url: str) -> ServerError | None:
    """One sentence with the fix for an error of Redis or of the way to it; None for others."""
    problem = _problem(error, f"Redis at {shown(url)}")
    if problem is not None:
        return ServerError(problem)
    if isinstance(error, (ConnectionError, TimeoutError, OSError)):
        return ServerUnreachable(
            f"No Redis at {shown(url)}. Start one with `runnel server`, or set RUNNEL_REDIS_URL. "
            f"({error})"
        )
    if isinstance(error, RedisError):
        return ServerError(f"Redis at {shown(url)} says: {error}")
    return None


def _problem(error: BaseException, server: str) -> str | None:
    # Some of these are ConnectionErrors to redis-py: they are looked for first.
    text = str(error)
    if isinstance(error, AuthenticationError):
        if "required" in text.lower():
            return f"{server} wants a login: use redis://USER:PASSWORD@HOST:PORT."
        return f"{server} refuses the login: check user and password in the URL. ({text})"
    if isinstance(error, BusyLoadingError):
        return f"{server} is still loading its data: try again shortly."
    if isinstance(error, ReadOnlyError):
        return f"{server} is a read-only replica: use the primary's URL."
    if isinstance(error, OutOfMemoryError):
        return f"{server} has reached its maxmemory: raise it, or let the processors catch up."
    if isinstance(error, NoPermissionError):
        return (
            f"{server} does not permit what Runnel needs: give its user that command and the keys "
            f"and channels runnel:*. ({text})"
        )
    if isinstance(error, RedisError) and text.startswith("MISCONF"):
        return f"{server} refuses writes because it cannot save to disk: see its log and its disk."
    if isinstance(error, RedisError) and "max number of clients" in text:
        return f"{server} has no connection left: raise its maxclients or run fewer clients."
    return None


async def check_server(
    client: Redis, url: str, loading_timeout: float = LOADING_TIMEOUT
) -> ServerInfo:
    """Look at the server before using it, waiting up to `loading_timeout` seconds for its data.

    Raises ServerUnreachable if nothing answers, ServerError if what answers cannot be used.
    """
    deadline = time.monotonic() + loading_timeout
    while True:
        try:
            info = await client.info()
        except NoPermissionError:
            return ServerInfo("redis", None, "standalone", (_UNCHECKED,))
        except BusyLoadingError as error:
            if time.monotonic() > deadline:
                raise translate(error, url) or error from error
        except (RedisError, OSError) as error:
            raise translate(error, url) or error from error
        else:
            if not info.get("loading") or time.monotonic() > deadline:
                return _judge(info, f"Redis at {shown(url)}")
        await asyncio.sleep(0.1)


_UNCHECKED = (
    "The Redis user may not run INFO, so the server's version, role and eviction policy are "
    "unchecked: allow it with ACL SETUSER … +info."
)


def _judge(info: Mapping[str, Any], server: str) -> ServerInfo:
    """What INFO says, or ServerError if the server cannot be used."""
    kind = "valkey" if "valkey_version" in info else "redis"
    # Valkey calls itself Redis 7.2.4 beside its own version.
    version = str(info.get("valkey_version") or info.get("redis_version"))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers or (int(numbers[1]), int(numbers[2])) < _FLOORS[kind]:
        raise ServerError(
            f"{server} is {kind} {version}, which is too old: Runnel needs Redis 7.0 or Valkey 7.2."
        )
    mode = str(info.get(f"{kind}_mode") or info.get("server_mode") or info.get("redis_mode"))
    if mode == "sentinel":
        raise ServerError(f"{server} is a Sentinel, which keeps no data: use the primary's URL.")
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        raise ServerError(f"{server} is a read-only replica: use its primary's URL ({primary}).")
    if info.get("loading"):
        raise ServerError(f"{server} is still loading its data: try again shortly.")
    mode = "cluster" if info.get("cluster_enabled") else "standalone"
    return ServerInfo(kind, version, mode, _eviction_warnings(str(info.get("maxmemory_policy"))))


def _eviction_warnings(policy: str) -> tuple[str, ...]:
    if policy.startswith("allkeys"):
        return (
            f"maxmemory-policy is {policy}: at maxmemory Redis deletes events that nobody has "
            f"processed. Set it to noeviction.",
        )
    if policy.startswith("volatile"):
        return (
            f"maxmemory-policy is {policy}: Runnel's keys never expire and are therefore safe "
            f"from it, but noeviction says what you mean.",
        )
    return ()
