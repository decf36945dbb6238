"""Copies of errors for several callers, and what a send adds to its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


def copy_of(error: Exception) -> Exception:
    """A copy of an error, for one more caller: what a caller adds to it stays its own."""
    try:
        made = copy.copy(error)
    except Exception:  # Its class takes other arguments than it stores.
        return error
    return made.with_traceback(error.__traceback__)


def with_sent(error: BaseException, sent: Sequence[Any]) -> None:
    """Store in an error of `send`, for each record, its `Sent` if it was sent, else None."""
    vars(error)["sent"] = list(sent)
