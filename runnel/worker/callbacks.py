"""What those who read and commit call for a lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runnel.core.partition import Lane


@dataclass(frozen=True, slots=True)
class Signals:
    """What is called for a lane that got events, moved or is over (`stirred`), and for one whose
    log may have lost events (`suspect`)."""

    stirred: Callable[[Lane], None]
    suspect: Callable[[Lane], None]
