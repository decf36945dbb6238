"""Redacts the secrets in the text of a Redis URL, and explains a text that cannot be a URL."""

from __future__ import annotations

import re
from itertools import takewhile

#: From here on a text is no address of a server: a fragment, or an assignment such as password=….
_ASSIGNMENT = re.compile(r"(#|[\s;]|,?[^\s,;/#@]*=).*", re.DOTALL)
#: An option of another client's connection string.
_OPTIONS = re.compile(r"(^|[,;\s])[\w-]+=")
#: A host with something else than a port behind it; the colons of an IPv6 address are in brackets.
_NO_PORT = re.compile(r"^(\[[^\]]*\]|[^:\[\]]*):(?!\d*$).*", re.DOTALL)
#: Distinguishes a connection string of another client from a password with commas in it.
_CONNECTION_STRING = re.compile(r"[,;]\s*(password|user|ssl|abortconnect)\s*=", re.IGNORECASE)


class Url(str):
    """A URL that knows where it was set, for messages: `origin` is the option or variable, such as
    ``--redis-url``, or empty for the default."""

    __slots__ = ("origin",)
    origin: str

    def __new__(cls, url: str, origin: str = "") -> Url:
        made = super().__new__(cls, url)
        made.origin = origin
        return made

    def __repr__(self) -> str:
        return repr(redacted(self))


def redacted(url: str) -> str:
    """The URL without user, password and options, fit for a message.

    Only text that looks like the address of a server is kept: a password may be where nobody
    expects it, such as in another client's connection string, or in place of a port.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        scheme, rest = "", url.strip()
    login, at, address = rest.rpartition("@")
    # The '@' may be in a password among options: then the rest is secret.
    if "?" in login or _OPTIONS.search(login):
        return f"{scheme}{separator}***"
    where, cut = address.partition("?")[0], ""
    if scheme != "unix":
        where, found = _ASSIGNMENT.subn("", where)
        cut = ",***" if found else ""
        hosts, slash, path = where.partition("/")
        where = ",".join(_NO_PORT.sub(r"\1:***", each) for each in hosts.split(",")) + slash + path
    return scheme + separator + ("***@" if at else "") + where + cut


def text_problem(url: str) -> str | None:
    """Why the text as a whole cannot be a URL, or None."""
    if not url.strip():
        return "is empty: use redis://HOST:PORT"
    for quote in ("'", '"'):
        if url.startswith(quote) or url.endswith(quote):
            return f"has a quote ({quote}) that is part of the text: leave it out"
    if re.search(r"\s", url):
        return "has a space or line end in it: leave it out (in a password, write %20)"
    scheme, separator, rest = url.partition("://")
    text = (rest if separator else url).partition("?")[0]
    if scheme != "unix" and ("=" in text.rpartition("@")[2] or _CONNECTION_STRING.search(text)):
        return _other_client_problem(url)
    return None


def _other_client_problem(text: str) -> str:
    """The message for a connection string such as ``HOST:6380,password=…,ssl=True``, which Azure
    shows."""
    scheme, _, rest = text.rpartition("://")
    parts = re.split(r"[,;]", rest)
    values = {
        key.strip().lower(): value for key, _, value in (each.partition("=") for each in parts)
    }
    # Later parts may belong to a password.
    hosts = list(takewhile(lambda each: "=" not in each, parts))
    hosts = hosts or [
        values.get(name, "") for name in ("host", "server", "endpoint") if name in values
    ]
    wanted = values.get("ssl", values.get("tls", "")).lower() in ("true", "1", "yes")
    tls = "s" if wanted or scheme.startswith("rediss") else ""
    login = ("USER" if "user" in values else "") + ":PASSWORD@" if "password" in values else ""
    kind = "+cluster" if len(hosts) > 1 else ""
    database = values.get("defaultdatabase", "")
    path = f"/{database}" if database.isdigit() and not kind else ""
    servers = ",".join(map(redacted, hosts)) or "HOST:PORT"
    return (
        "is the connection string of another client: write it as a URL, "
        f"redis{tls}{kind}://{login}{servers}{path}"
    )
