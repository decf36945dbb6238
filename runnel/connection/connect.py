"""Builds Redis clients; no other module does.

A client must not retry by itself: with redis-py's defaults it sends a script again when the reply
was lost, so that the script runs twice. Runnel itself repeats the calls that are safe to repeat.
"""

from __future__ import annotations

from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

from runnel.connection.cluster import Cluster, NodeAddress
from runnel.connection.cluster_client import AnyNode, AnyNodeTLS, ClusterClient
from runnel.connection.redis_client import Client
from runnel.connection.redis_internals import UNNAMED_LIBRARY
from runnel.connection.sentinel import SentinelClient, Sentinels
from runnel.connection.url import ParsedUrl, parse
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError

#: Seconds to wait for a connection: long enough for a server on another continent, short enough for
#: a user who waits for the error.
CONNECT_TIMEOUT = 2.0


def connect(
    url: str, socket_timeout: float | None = 5.0, *, client_name: str | None = None
) -> Client:
    """An asyncio client; it connects when first used. `runnel.connection.deployment.of` returns the
    deployment behind it.

    `socket_timeout` is in seconds, the longest blocking read plus a margin, or None for no limit.
    CLIENT LIST shows `client_name`. Raises ConfigError for a URL that cannot work.
    """
    parsed = parse(url)
    options = {**_options(socket_timeout, client_name), "retry": Retry(NoBackoff(), 0)}
    if parsed.kind == "cluster":
        return _cluster(parsed, options)
    if parsed.kind == "sentinel":
        return _behind_sentinels(parsed, options)
    return _client(ConnectionPool(**_pool_options(parsed.server_urls[0], options)))


def connect_sync(
    url: str, socket_timeout: float | None = 5.0, *, client_name: str | None = None
) -> SyncRedis:
    """A synchronous client, of one server only. Raises ConfigError for other URLs."""
    if parse(url).kind != "server":
        raise ConfigError(f"redis_url {redacted(url)!r} names more than one server")
    options = _options(socket_timeout, client_name)
    return SyncRedis.from_url(url, retry=SyncRetry(NoBackoff(), 0), **options)


def _cluster(parsed: ParsedUrl, options: dict[str, Any]) -> Client:
    seeds = [_pool_options(each, options) for each in parsed.server_urls]
    common = {name: value for name, value in seeds[0].items() if name not in ("host", "port")}
    tls = common.pop("connection_class", None) is SSLConnection

    def connect_to(node: NodeAddress) -> Client:
        kind = SSLConnection if tls else Connection
        return _client(ConnectionPool(kind, host=node[0], port=node[1], **common))

    cluster = Cluster([(each["host"], each["port"]) for each in seeds], connect_to)
    pool = ConnectionPool(AnyNodeTLS if tls else AnyNode, addresses=cluster.addresses, **common)
    return ClusterClient(cluster, pool)


def _behind_sentinels(parsed: ParsedUrl, options: dict[str, Any]) -> Client:
    user, password = parsed.sentinel_login
    own = {"username": user, "password": password, "db": 0, "socket_timeout": CONNECT_TIMEOUT}
    sentinels = Sentinels(
        [
            _client(ConnectionPool(**{**_pool_options(u, options), **own}))
            for u in parsed.server_urls
        ]
    )
    primary = _pool_options(parsed.server_urls[0], options)
    del primary["host"], primary["port"]
    tls = primary.pop("connection_class", None) is SSLConnection
    pool = SentinelConnectionPool(parsed.service, sentinels, ssl=tls, **primary)  # type: ignore[no-untyped-call]
    return SentinelClient(pool)


def _client(pool: ConnectionPool) -> Client:
    client = Client.from_pool(pool)
    assert isinstance(client, Client)
    return client


def _pool_options(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a connection pool for one server."""
    found = {**dict(parse_url(url)), **options}
    if found.get("connection_class") is SSLConnection:
        # The default differs between redis-py's versions.
        found.setdefault("ssl_check_hostname", found.get("ssl_cert_reqs") != "none")
    return found


def _options(socket_timeout: float | None, client_name: str | None) -> dict[str, Any]:
    """The options of every client. Each default of redis-py that matters is set here: defaults
    change between its versions."""
    return {
        "protocol": 2,
        "decode_responses": False,
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": socket_timeout,
        "client_name": client_name,
        **UNNAMED_LIBRARY,
    }
