"""Imports the modules in which an app declares processors, found by a glob."""

from __future__ import annotations

import importlib
from pathlib import Path

from runnel.errors import ConfigError


def autodiscover(pattern: str) -> list[str]:
    """Import the modules that match. Returns their names. Raises ConfigError if there is none."""
    try:
        paths = sorted(Path().glob(pattern))
    # pathlib raises NotImplementedError for an absolute pattern.
    except (TypeError, ValueError, NotImplementedError, OSError) as error:
        raise ConfigError(
            f"autodiscover takes a glob below the current directory, such as "
            f"'shop/processors/*.py', not {pattern!r} ({error})"
        ) from None
    names = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in paths
        if path.suffix == ".py"
    ]
    if not names:
        raise ConfigError(f"autodiscover: no Python file matches {pattern!r} here")
    for name in names:
        importlib.import_module(name)
    return names
