"""Explains an error of Redis, or of the connection to it, in one sentence with the fix."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from runnel.connection.cluster import typed
from runnel.connection.url_text import redacted
from runnel.errors import ServerError, ServerUnreachable

#: How servers, and proxies in front of them, refuse a command that they do not have.
_ABSENT = (
    r"(?i)unknown (redis )?command|unsupported command|command not supported|invalid request|"
    r"command .*(is )?(not allowed|disabled|not available)"
)
#: Class of the error, pattern of its text, the sentence. The first row that matches is used;
#: {server} and {text} are filled in. Rows for subclasses of ConnectionError come before its own.
_SENTENCES: tuple[tuple[type[Exception], str, str], ...] = (
    (
        AuthenticationError,
        "(?i)required",
        "{server} wants a login: use redis://USER:PASSWORD@HOST:PORT.",
    ),
    (
        AuthenticationError,
        "",
        "{server} refuses the login: check user and password in the URL. ({text})",
    ),
    (BusyLoadingError, "", "{server} is still loading its data: try again shortly."),
    (ReadOnlyError, "", "{server} is a read-only replica: use the primary's URL."),
    (
        OutOfMemoryError,
        "",
        "{server} has reached its maxmemory: raise it, or let the processors catch up.",
    ),
    (
        NoPermissionError,
        "",
        "{server} does not permit what Runnel needs: give its user that command and the keys "
        "and channels runnel:*. ({text})",
    ),
    (
        ResponseError,
        "(?i)ACL failure in script|user executing the script can.t run",
        "{server} does not permit what Runnel needs: give its user the permissions that are "
        "listed in docs/operations.md. ({text})",
    ),
    (
        RedisError,
        "^MISCONF",
        "{server} refuses writes because it cannot save to disk: see its log and its disk.",
    ),
    (
        RedisError,
        "max number of clients",
        "{server} has no connection left: raise its maxclients or run fewer clients.",
    ),
    (
        RedisError,
        "(?i)^protocol error",
        "{server}: the program that answers there is not Redis, so check the port. ({text})",
    ),
    (
        MovedError,
        "",
        "{server} is one node of a cluster: use redis+cluster:// (rediss+cluster:// with TLS).",
    ),
    (
        RedisError,
        "cluster support disabled",
        "{server} is no cluster: use redis:// (rediss:// with TLS).",
    ),
    (
        RedisError,
        "(?i)unknown command.*sentinel",
        "{server} is no Sentinel: name the sentinels, or use redis:// for one server.",
    ),
    (
        ResponseError,
        _ABSENT,
        "{server} lacks a command that Runnel needs: it is renamed or disabled there, or a "
        "proxy in between does not pass it on. ({text})",
    ),
    (
        ClusterDownError,
        "",
        "The cluster of {server} is down: see `CLUSTER INFO` on its nodes. ({text})",
    ),
    (
        ConnectionError,
        "(?i)certificate.?required|handshake.?failure",
        "{server} wants a certificate of its client: set ssl_certfile and ssl_keyfile. ({text})",
    ),
    (
        ConnectionError,
        "(?i)hostname mismatch|address mismatch",
        "{server} shows a certificate for another name: use that name in the URL, or set "
        "ssl_check_hostname=false. ({text})",
    ),
    (
        ConnectionError,
        "CERTIFICATE_VERIFY_FAILED",
        "{server} shows a certificate that is not trusted here: set ssl_ca_certs to the file of "
        "the authority that signed it. ({text})",
    ),
)


def is_absent(error: Exception) -> bool:
    """Whether a server, or a proxy in front of it, says that it does not have a command."""
    return isinstance(error, ResponseError) and bool(re.search(_ABSENT, str(error)))


def explain_redis_error(error: BaseException, url: str) -> ServerError | None:
    """One sentence with the fix for an error of Redis or of the connection to it; None for other
    errors."""
    error = typed(error)
    # A server repeats the arguments that it was sent, up to a whole script.
    text, server = str(error).partition(", with args beginning with")[0], redacted(url)
    for kind, pattern, sentence in _SENTENCES:
        if isinstance(error, kind) and re.search(pattern, text):
            return ServerError(sentence.format(server=f"Redis at {server}", text=text))
    if isinstance(error, MasterNotFoundError):
        answers = text.partition(" that is up")[2]
        return ServerUnreachable(
            f"The sentinels at {server} name no primary that is up{answers}: check that they run "
            "and know that name, or wait until they have chosen one. "
            f"{_quorum(url)}"
        )
    if isinstance(error, (ConnectionError, TimeoutError, OSError)):
        return ServerUnreachable(f"{_nothing_at(url)}{_tls_hint(error, url)} ({text})")
    if isinstance(error, RedisError):
        return ServerError(f"Redis at {server} says: {text}")
    return None


def _nothing_at(url: str) -> str:
    """That nothing answers, where the URL comes from, and what to do."""
    server, origin = redacted(url), getattr(url, "origin", None)
    said, other = f", as {origin} says", "correct that"
    if not origin:
        said, other = ("" if origin is None else ", the default"), "set RUNNEL_REDIS_URL"
    parts = urlsplit(url)
    if parts.scheme.endswith("+sentinel"):
        return (
            f"The primary that the sentinels at {server} name does not answer: they choose another "
            f"one within seconds, if most of them run. {_quorum(url)}"
        )
    start = "see that it runs and can be reached from here"
    if parts.scheme == "unix" or (parts.scheme == "redis" and _is_here(parts.hostname or "")):
        # An empty server in place of one that has died would hide what that one holds.
        start = "start it again the way it was started, with its own data"
        if server == "redis://127.0.0.1:6379":
            start += " (`runnel server` starts a first one, if you have none yet)"
    if origin == "":
        return f"No Redis at {server}, the default. If yours is elsewhere, {other}; else {start}."
    return f"No Redis at {server}{said}. {start[0].upper()}{start[1:]}, or {other}."


def _quorum(url: str) -> str:
    """How to ask the sentinels whether they can choose a primary."""
    name = urlsplit(redacted(url)).path.strip("/").partition("/")[0]
    return f"`redis-cli -h HOST -p PORT SENTINEL CKQUORUM {name}` asks one of them if they can."


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _tls_hint(error: BaseException, url: str) -> str:
    """A hint for an error that TLS on one side only can cause: the other side hangs up, or does not
    answer."""
    tls, hung_up = url.startswith("rediss"), re.search("closed by server|reset by peer", str(error))
    if tls and isinstance(error, TimeoutError):
        return " If it speaks no TLS, write redis in place of rediss."
    if tls and hung_up and "ssl_certfile=" not in url:
        return " If it wants a certificate of its client, set ssl_certfile and ssl_keyfile."
    if url.startswith("redis") and not tls and hung_up:
        return " If it speaks TLS, write rediss in place of redis."
    return ""
