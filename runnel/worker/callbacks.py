"""What those who read and commit call for a partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runnel.core.partition import PartitionState


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What is called for a partition that got events, moved or is over (`stirred`), and for one
    whose log may have lost events (`suspect`)."""

    on_change: Callable[[PartitionState], None]
    suspect: Callable[[PartitionState], None]
