"""What ``lua/manifest.json`` says of the scripts: it is generated from their headers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from runnel.protocol.scripts import folder


@cache
def manifest() -> dict[str, Any]:
    """The manifest of the scripts that this installation calls."""
    found: dict[str, Any] = json.loads((folder() / "manifest.json").read_text("utf-8"))
    return found
