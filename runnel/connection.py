"""The one place that builds Redis clients, and says in a sentence why one cannot be used.

A client must not retry by itself: redis-py's defaults send a script again whose reply was lost, so
that it runs twice. Runnel repeats only calls that are safe to repeat, and knows that it does.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry as SyncRetry

from runnel.errors import ConfigError, ServerError, ServerUnreachable

_SCHEMES = ("redis", "rediss", "unix")
CONNECT_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What answers: `kind` is redis or valkey, `mode` standalone or cluster.

    `warnings` are sentences about settings that can lose events.
    """

    kind: str
    version: str
    mode: str
    warnings: tuple[str, ...] = ()


def check_url(url: str) -> str:
    """Return the URL if it can be one of a Redis server. Raises ConfigError with the fix."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        near = difflib.get_close_matches(parts.scheme, _SCHEMES, 1)
        hint = f"; did you mean {near[0]}://?" if near else ""
        raise ConfigError(
            f"redis_url {shown(url)!r} must start with redis://, rediss:// or unix://{hint}"
        )
    try:
        port_is_bad = parts.port is not None and not 0 < parts.port < 65536
    except ValueError:
        port_is_bad = True
    if port_is_bad:
        raise ConfigError(f"redis_url {shown(url)!r} has a port that is no number from 1 to 65535")
    if parts.scheme == "unix" and not parts.path:
        raise ConfigError(f"redis_url {shown(url)!r} names no socket: use unix:///path/to/socket")
    if parts.scheme != "unix" and not parts.hostname:
        raise ConfigError(f"redis_url {shown(url)!r} names no host: use redis://HOST:PORT")
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise ConfigError(
            f"redis_url {shown(url)!r}: the part behind the host is a database number"
        )
    return url


def shown(url: str) -> str:
    """The URL without its password."""
    scheme, separator, rest = url.partition("://")
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    return scheme + separator + rest


def _options(socket_timeout: float | None) -> dict[str, Any]:
    return {
        "protocol": 2,
        "decode_responses": False,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": socket_timeout,
        "socket_keepalive": True,
    }


def connect(url: str, socket_timeout: float | None = 5.0) -> Redis:
    """An asyncio client. `socket_timeout` is in seconds: the longest block plus a margin."""
    options = _options(socket_timeout)
    return Redis.from_url(check_url(url), retry=Retry(NoBackoff(), 0), **options)


def connect_sync(url: str, socket_timeout: float | None = 5.0) -> SyncRedis:
    """A client for threads."""
    options = _options(socket_timeout)
    return SyncRedis.from_url(check_url(url), retry=SyncRetry(NoBackoff(), 0), **options)


def translate(error: BaseException, url: str) -> ServerError | None:
    """One sentence with the fix for an error of Redis or of the way to it; None for others."""
    if isinstance(error, AuthenticationError):
        return ServerError(f"Redis at {shown(url)} refuses the login: check user and password.")
    if isinstance(error, BusyLoadingError):
        return ServerError(f"Redis at {shown(url)} is still loading its data: try again shortly.")
    if isinstance(error, (ConnectionError, TimeoutError, OSError)):
        return ServerUnreachable(
            f"No Redis at {shown(url)}. Start one with `runnel server`, or set RUNNEL_REDIS_URL. "
            f"({error})"
        )
    if isinstance(error, ReadOnlyError):
        return ServerError(f"Redis at {shown(url)} is a read-only replica: use the primary's URL.")
    if isinstance(error, OutOfMemoryError):
        return ServerError(
            f"Redis at {shown(url)} has reached maxmemory: raise it or let processors catch up."
        )
    if isinstance(error, NoPermissionError) or "NOPERM" in str(error):
        return ServerError(f"The user of {shown(url)} lacks a permission: {error}")
    if isinstance(error, ResponseError) and "NOAUTH" in str(error):
        return ServerError(f"Redis at {shown(url)} wants a login: put it in the URL.")
    if isinstance(error, RedisError):
        return ServerError(f"Redis at {shown(url)}: {error}")
    return None


async def check_server(client: Redis, url: str) -> ServerInfo:
    """Look at the server before using it.

    Raises ServerUnreachable if nothing answers, ServerError if what answers cannot be used.
    """
    try:
        info = await client.info()
    except NoPermissionError:
        return ServerInfo("redis", "unknown", "standalone", ("INFO is not permitted: unchecked.",))
    except (RedisError, OSError) as error:
        raise translate(error, url) or error from error
    kind = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version") or info.get("redis_version"))
    floor = (7, 2) if kind == "valkey" else (7, 0)
    if tuple(int(part) for part in version.split(".")[:2]) < floor:
        raise ServerError(
            f"Redis at {shown(url)} is {kind} {version}; Runnel needs Redis 7.0 or Valkey 7.2."
        )
    if info.get("role") == "slave" and info.get("slave_read_only"):
        raise ServerError(f"Redis at {shown(url)} is a read-only replica: use the primary's URL.")
    warnings = []
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        warnings.append(
            f"maxmemory-policy is {policy}: Redis may evict events. Set it to noeviction."
        )
    mode = "cluster" if info.get("cluster_enabled") else "standalone"
    return ServerInfo(kind, version, mode, tuple(warnings))
