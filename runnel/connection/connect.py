"""Builds Redis clients; no other module does.

A client must not retry by itself: redis-py's defaults send a script again whose reply was lost, so
that it runs twice. Runnel repeats only calls that are safe to repeat, and knows that it does.
"""

from __future__ import annotations

import inspect
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry as SyncRetry

from runnel.connection.cluster import Cluster, NodeAddress
from runnel.connection.cluster_client import AnyNode, AnyNodeTLS, ClusterClient
from runnel.connection.redis_client import Client
from runnel.connection.sentinel import SentinelClient, Sentinels
from runnel.connection.url import Address, parse
from runnel.connection.url_text import shown
from runnel.errors import ConfigError

#: Seconds to wait for a connection: long enough for another continent, short enough to be told.
CONNECT_TIMEOUT = 2.0


def connect(
    url: str, socket_timeout: float | None = 5.0, *, client_name: str | None = None
) -> Client:
    """An asyncio client; it connects when first used. `runnel.connection.deployment.of` tells what
    is behind.

    `socket_timeout` is in seconds, the longest blocking read plus a margin, or None for no limit.
    `client_name` is what CLIENT LIST shows. Raises ConfigError for a URL that cannot work.
    """
    address = parse(url)
    options = {**_options(socket_timeout, client_name), "retry": Retry(NoBackoff(), 0)}
    if address.kind == "cluster":
        return _cluster(address, options)
    if address.kind == "sentinel":
        return _behind_sentinels(address, options)
    return _client(ConnectionPool(**_placed(address.places[0], options)))


def connect_sync(
    url: str, socket_timeout: float | None = 5.0, *, client_name: str | None = None
) -> SyncRedis:
    """The same client for threads, of one server only. Raises ConfigError for other URLs."""
    if parse(url).kind != "server":
        raise ConfigError(f"redis_url {shown(url)!r} names more than one server")
    options = _options(socket_timeout, client_name)
    return SyncRedis.from_url(url, retry=SyncRetry(NoBackoff(), 0), **options)


def _cluster(address: Address, options: dict[str, Any]) -> Client:
    seeds = [_placed(each, options) for each in address.places]
    common = {name: value for name, value in seeds[0].items() if name not in ("host", "port")}
    tls = common.pop("connection_class", None) is SSLConnection

    def connect_to(place: NodeAddress) -> Client:
        kind = SSLConnection if tls else Connection
        return _client(ConnectionPool(kind, host=place[0], port=place[1], **common))

    cluster = Cluster([(each["host"], each["port"]) for each in seeds], connect_to)
    pool = ConnectionPool(AnyNodeTLS if tls else AnyNode, places=cluster.places, **common)
    return ClusterClient(cluster, pool)


def _behind_sentinels(address: Address, options: dict[str, Any]) -> Client:
    user, password = address.sentinel_login
    own = {"username": user, "password": password, "db": 0, "socket_timeout": CONNECT_TIMEOUT}
    sentinels = Sentinels(
        [_client(ConnectionPool(**{**_placed(place, options), **own})) for place in address.places]
    )
    primary = _placed(address.places[0], options)
    del primary["host"], primary["port"]
    tls = primary.pop("connection_class", None) is SSLConnection
    pool = SentinelConnectionPool(address.service, sentinels, ssl=tls, **primary)  # type: ignore[no-untyped-call]
    return SentinelClient(pool)


def _client(pool: ConnectionPool) -> Client:
    client = Client.from_pool(pool)
    assert isinstance(client, Client)
    return client


def _placed(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a connection pool needs for one server."""
    found = {**dict(parse_url(url)), **options}
    if found.get("connection_class") is SSLConnection:
        # The default differs between redis-py's versions.
        found.setdefault("ssl_check_hostname", found.get("ssl_cert_reqs") != "none")
    return found


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
