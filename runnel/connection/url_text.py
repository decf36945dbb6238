"""The text that says where Redis is: shown without its secrets, and what no URL can be like."""

from __future__ import annotations

import re
from itertools import takewhile

#: From here on a text is no place of a server: a fragment, or an assignment such as password=….
_ASSIGNMENT = re.compile(r"(#|[\s;]|,?[^\s,;/#@]*=).*", re.DOTALL)
#: An option of another client's connection string.
_OPTIONS = re.compile(r"(^|[,;\s])[\w-]+=")
#: A host with what is no port behind it; the colons of an IPv6 address are inside brackets.
_NO_PORT = re.compile(r"^(\[[^\]]*\]|[^:\[\]]*):(?!\d*$).*", re.DOTALL)
#: What tells a connection string from a password with commas in it.
_NOT_OURS = re.compile(r"[,;]\s*(password|user|ssl|abortconnect)\s*=", re.IGNORECASE)


class Url(str):
    """A URL that knows who said it, for messages: `origin` is such as ``--redis-url``, or empty
    for the default that nobody chose."""

    __slots__ = ("origin",)
    origin: str

    def __new__(cls, url: str, origin: str = "") -> Url:
        made = super().__new__(cls, url)
        made.origin = origin
        return made

    def __repr__(self) -> str:
        return repr(shown(self))


def shown(url: str) -> str:
    """The URL without user, password and options, fit for a message.

    Only what looks like the place of a server is shown: a password may be where nobody expects it,
    such as in another client's connection string, or in place of a port.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        scheme, rest = "", url.strip()
    login, at, place = rest.rpartition("@")
    # The '@' may be in a password among options: then what follows is secret.
    if "?" in login or _OPTIONS.search(login):
        return f"{scheme}{separator}***"
    where, cut = place.partition("?")[0], ""
    if scheme != "unix":
        where, found = _ASSIGNMENT.subn("", where)
        cut = ",***" if found else ""
        hosts, slash, path = where.partition("/")
        where = ",".join(_NO_PORT.sub(r"\1:***", each) for each in hosts.split(",")) + slash + path
    return scheme + separator + ("***@" if at else "") + where + cut


def text_problem(url: str) -> str | None:
    """What is wrong with the text as a whole, whatever it is meant to say."""
    if not url.strip():
        return "is empty: use redis://HOST:PORT"
    for quote in ("'", '"'):
        if url.startswith(quote) or url.endswith(quote):
            return f"has a quote ({quote}) that is part of the text: leave it out"
    if re.search(r"\s", url):
        return "has a space or line end in it: leave it out (in a password, write %20)"
    scheme, separator, rest = url.partition("://")
    text = (rest if separator else url).partition("?")[0]
    if scheme != "unix" and ("=" in text.rpartition("@")[2] or _NOT_OURS.search(text)):
        return _other_client_problem(url)
    return None


def _other_client_problem(text: str) -> str:
    """For ``HOST:6380,password=…,ssl=True``, as Azure shows it, and the like."""
    scheme, _, rest = text.rpartition("://")
    parts = re.split(r"[,;]", rest)
    said = {key.strip().lower(): value for key, _, value in (each.partition("=") for each in parts)}
    # What comes later may be a part of a password.
    hosts = list(takewhile(lambda each: "=" not in each, parts))
    hosts = hosts or [said.get(name, "") for name in ("host", "server", "endpoint") if name in said]
    wanted = said.get("ssl", said.get("tls", "")).lower() in ("true", "1", "yes")
    tls = "s" if wanted or scheme.startswith("rediss") else ""
    login = ("USER" if "user" in said else "") + ":PASSWORD@" if "password" in said else ""
    kind = "+cluster" if len(hosts) > 1 else ""
    database = said.get("defaultdatabase", "")
    path = f"/{database}" if database.isdigit() and not kind else ""
    places = ",".join(map(shown, hosts)) or "HOST:PORT"
    return (
        "is the connection string of another client: write it as a URL, "
        f"redis{tls}{kind}://{login}{places}{path}"
    )
