"""Chooses the server program on which a simulation runs."""

from __future__ import annotations

from runnel.embedded.binary import Binary
from runnel.errors import ConfigError
from tests.servers import available_servers


def choose(name: str) -> Binary:
    """The first server program whose kind and version start with `name`, which may be empty.

    Raises ConfigError if there is none.
    """
    found = available_servers()
    for binary in found:
        if str(binary).startswith(name):
            return binary
    have = ", ".join(map(str, found)) or "none"
    raise ConfigError(f"there is no server {name!r} on this machine; there is {have}")
