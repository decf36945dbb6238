"""The callbacks that readers and committers call for a partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runnel.core.partition import PartitionState


@dataclass(frozen=True, slots=True)
class Callbacks:
    """`on_change` is called for a partition when events or a reply about it have arrived,
    `on_suspected_loss` if its log may have lost events, `on_wrong_key` if a key of its tables may
    have another type than Runnel gives it."""

    on_change: Callable[[PartitionState], None]
    on_suspected_loss: Callable[[PartitionState], None]
    on_wrong_key: Callable[[PartitionState], None]
