"""Checks that a server, or every primary of a cluster, can be used."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from runnel.connection import deployment
from runnel.connection.cluster import SLOTS, fields
from runnel.connection.explain import explain_redis_error, is_absent
from runnel.connection.redis_client import Client
from runnel.connection.url import parse
from runnel.connection.url_text import redacted
from runnel.connection.versions import OLDEST
from runnel.errors import ServerError
from runnel.log import logger_of

#: Seconds to wait for a server that is reading its data from disk.
LOADING_TIMEOUT = 30.0
_POLL = 0.1
#: Seconds between two warnings about a server that is still loading: at first and at most.
_WARN_EVERY = (5.0, 60.0)
_UNCHECKED = (
    "The Redis user may not run INFO, so the server's version, role and eviction policy are "
    "unchecked: allow it with ACL SETUSER … +info."
)
_NO_INFO = (
    "{server} has no INFO, so its version, role and eviction policy are unchecked: Runnel needs "
    "Redis 7.0 or Valkey 7.2, a primary, and maxmemory-policy noeviction."
)

logger = logger_of("runnel")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server or deployment: `kind` is redis or valkey, `mode` standalone, sentinel or cluster.

    `version` is that of the oldest primary, None if the user may not run INFO. `warnings` are
    sentences about settings that could lose events, or that could not be checked.
    """

    kind: str
    version: str | None
    mode: str
    warnings: tuple[str, ...] = ()


async def check_server(
    client: Redis, url: str, loading_timeout: float = LOADING_TIMEOUT
) -> ServerInfo:
    """Check the server, or every primary of a cluster and that all its slots are served.

    Waits up to `loading_timeout` seconds for a server that loads its data. Raises ServerUnreachable
    if nothing answers, ServerError if the server cannot be used.
    """
    kind = parse(url).kind
    deadline = time.monotonic() + loading_timeout
    try:
        primaries = await deployment.of(client).primaries()
        found = [await _check_node(node, deadline, _name(node, kind, url)) for node in primaries]
        if kind == "cluster" or any(each.mode == "cluster" for each in found):
            await _check_cluster(primaries[0], kind, f"Redis at {redacted(url)}")
    except (RedisError, OSError) as error:
        raise explain_redis_error(error, url) or error from error
    oldest = min(found, key=lambda each: _numbers(each.version or "0.0"))
    warnings = dict.fromkeys(warning for each in found for warning in each.warnings)
    mode = oldest.mode if kind == "server" else kind
    return ServerInfo(oldest.kind, oldest.version, mode, tuple(warnings))


async def _check_node(node: Client, deadline: float, server: str) -> ServerInfo:
    """Check one server, once it has loaded its data or the deadline has passed."""
    wait = _LoadingLog(server)
    while True:
        try:
            info = await node.info()
            if not info.get("loading") or time.monotonic() > deadline:
                wait.over()
                return server_info(info, server)
            wait.goes_on(info.get("loading_loaded_perc"), info.get("loading_eta_seconds"))
        except NoPermissionError:
            return ServerInfo("redis", None, "standalone", (_UNCHECKED,))
        except ResponseError as error:
            if not is_absent(error):
                raise
            return ServerInfo("redis", None, "standalone", (_NO_INFO.format(server=server),))
        except BusyLoadingError:
            if time.monotonic() > deadline:
                raise
            wait.goes_on()
        except ConnectionError as error:
            if not await _hangs_up_on_info(node, error):
                raise
            raise ServerError(
                f"{server} answers PING and hangs up on INFO, as a proxy such as twemproxy does: "
                "Runnel needs scripts and blocking reads, so use the URL of the server itself."
            ) from error
        await asyncio.sleep(_POLL)


class _LoadingLog:
    """Logs that a server is loading its data: at once, then less and less often, and at the end."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._began = time.monotonic()
        self._next, self._pause = self._began, _WARN_EVERY[0]
        self._warned = False

    def goes_on(self, percent: object = None, left: object = None) -> None:
        """It is still loading: `percent` is done, `left` estimates the seconds to go."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._pause = now + self._pause, min(self._pause * 2, _WARN_EVERY[1])
        self._warned = True
        done = f": {float(str(percent)):.0f} % done" if percent is not None else ""
        eta = f", about {left} s to go" if done and str(left).isdigit() else ""
        logger.warning("%s is loading its data, waiting%s%s", self._server, done, eta)

    def over(self) -> None:
        """It has loaded its data."""
        if self._warned:
            seconds = time.monotonic() - self._began
            logger.warning("%s has loaded its data, after a wait of %.0f s", self._server, seconds)


async def _hangs_up_on_info(node: Client, error: ConnectionError) -> bool:
    """Whether the server closed the connection because of INFO: it still answers PING."""
    if "closed by server" not in str(error).lower():
        return False
    try:
        return bool(await node.ping())
    except (RedisError, OSError):
        return False


def _name(node: Client, kind: str, url: str) -> str:
    if kind != "cluster":
        return f"Redis at {redacted(url)}"
    options = node.connection_pool.connection_kwargs
    return f"Redis at {options['host']}:{options['port']}"


async def _check_cluster(node: Client, kind: str, server: str) -> None:
    (reply,) = await node.roundtrip([("CLUSTER", "INFO")])
    if isinstance(reply, NoPermissionError) or (isinstance(reply, Exception) and is_absent(reply)):
        return
    info = fields(reply)
    if kind == "server" and int(info.get("cluster_size", 1)) > 1:
        raise ServerError(
            f"{server} is one node of a cluster: use redis+cluster:// (rediss+cluster:// with TLS)."
        )
    assigned = int(info.get("cluster_slots_assigned", SLOTS))
    if assigned < SLOTS:
        raise ServerError(
            f"The cluster of {server} serves only {assigned} of its {SLOTS} slots: "
            "assign the others, as `redis-cli --cluster fix` does."
        )
    if info.get("cluster_state") != "ok":
        raise ServerError(
            f"The cluster of {server} is down (cluster_state is {info.get('cluster_state')}): see "
            "`CLUSTER INFO` and `CLUSTER NODES`, and wait until its failover is over."
        )


def server_info(info: Mapping[str, Any], server: str) -> ServerInfo:
    """The server by its INFO. Raises ServerError if it cannot be used."""
    kind = "valkey" if "valkey_version" in info else "redis"
    # Valkey reports redis_version 7.2.4 beside its own version.
    version = str(info.get("valkey_version") or info.get("redis_version"))
    if _numbers(version) < OLDEST[kind]:
        raise ServerError(
            f"{server} is {kind} {version}, which is too old: Runnel needs Redis 7.0 or Valkey 7.2."
        )
    mode = str(info.get(f"{kind}_mode") or info.get("server_mode") or info.get("redis_mode"))
    if mode == "sentinel":
        raise ServerError(
            f"{server} is a Sentinel, which keeps no data: use redis+sentinel://HOST:PORT/NAME."
        )
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        raise ServerError(f"{server} is a read-only replica: use its primary's URL ({primary}).")
    if info.get("loading"):
        raise ServerError(f"{server} is still loading its data: try again shortly.")
    mode = "cluster" if info.get("cluster_enabled") else "standalone"
    return ServerInfo(kind, version, mode, _eviction_warnings(str(info.get("maxmemory_policy"))))


def _numbers(version: str) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


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
