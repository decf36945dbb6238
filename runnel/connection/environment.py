"""Reads RUNNEL_REDIS_URL from the environment."""

from __future__ import annotations

import os

from runnel.connection.url_text import Url
from runnel.errors import ConfigError

VARIABLE = "RUNNEL_REDIS_URL"
#: Where Redis is if nobody says it.
DEFAULT = Url("redis://127.0.0.1:6379")


def url_of_environment() -> Url | None:
    """The value of RUNNEL_REDIS_URL, None if it is not set. Raises ConfigError if it is empty."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    if not text.strip():
        raise ConfigError(
            f"the environment variable {VARIABLE} is {'blank' if text else 'empty'}: unset it, or "
            "give it a URL such as redis://127.0.0.1:6379"
        )
    return Url(text.strip(), f"{VARIABLE} in the environment")
