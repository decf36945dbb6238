"""How commands that are printed name an app, its processors and the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runnel.connection.url_text import redacted

Json = dict[str, Any]


@dataclass(frozen=True)
class Names:
    """How commands name the module and the app; the defaults are for an app without code.

    `declared` has the stream and the name of each processor that the code declares. `redis_url` is
    the URL if it was given on the command line: commands that are copied must have it, too, or they
    would change another Redis.
    """

    module: str = "MODULE"
    app: str = "MODULE:APP"
    declared: frozenset[tuple[str, str]] | None = None
    redis_url: str | None = None

    @property
    def codeless(self) -> bool:
        """Is the code of what is looked at unknown?"""
        return self.module == Names.module

    @property
    def at(self) -> str:
        """The option for the URL, as it was given; a URL with a password is not shown."""
        url = self.redis_url
        if url is None:
            return ""
        return f" --redis-url {url if redacted(url) == url else 'URL'}"

    def target(self, processor: Json) -> str:
        """How commands name a processor. Without code, by app and stream."""
        if self.declared is None and self.codeless:
            return f"{processor['app']}/{processor['stream']}@{processor['name']}{self.at}"
        return f"{self.module}:{processor['name']}{self.at}"

    def look(self, processor: Json, partition: int) -> str:
        """The command that shows all of a partition."""
        if self.codeless:
            return f"runnel inspect {processor['app']}/{processor['name']} {partition}{self.at}"
        return f"runnel inspect {self.app} {processor['name']} {partition}{self.at}"

    def show(self, processor: Json, partition: int, event: str) -> str:
        """The command that shows an event of the stream of a processor."""
        where = f"{partition} {event}"
        if self.declared is None and self.codeless:
            where += f" --app {processor['app']} --stream {processor['stream']}"
            return f"runnel show {where}{self.at}"
        return f"runnel show {self.app} {where} --stream {processor['stream']}{self.at}"
