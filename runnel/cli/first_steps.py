"""What `runnel inspect` says of a server without a stream or a processor, for people. No I/O."""

from __future__ import annotations

from typing import Any, Protocol

Json = dict[str, Any]

#: What is to be read in one line.
NOBODY = "no worker has run here yet"


class Names(Protocol):
    """How commands name an app, and the option for the URL as it was given."""

    @property
    def app(self) -> str:
        """Module and attribute of the app."""
        ...

    @property
    def at(self) -> str:
        """The option, with a space before it; empty if it was not given."""
        ...


def lines(seen: Json, names: Names) -> list[str]:
    """What to do next; empty if there is something to see."""
    if seen["processors"] or seen["streams"]:
        return []
    return [
        "",
        f"{NOBODY}: if one should have, compare this URL with the one that it logs",
        f"  runnel worker {names.app}{names.at}   # starts one, which registers its processors",
        "  runnel init NAME   # writes a first app, if you have none",
    ]
