"""`Processor`: user code with the stream that it reads and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from runnel import keys
from runnel.dead_letter import DeadLetter
from runnel.errors import BadArgument, ConfigError
from runnel.handlers.callables import Handler
from runnel.middleware import Middleware
from runnel.protocol import PartitionKeys
from runnel.stream import StreamSpec

CommitMode = Literal["auto", "each"]


class ExceptionPolicy(Enum):
    """What a worker does with an event that has failed after all its retries."""

    QUARANTINE = "quarantine"
    """The default: stop this partition for all workers until `runnel processor resume`. Other
    partitions continue."""
    HALT = "halt"
    """Stop the worker with an error. The event stays, and later events are not processed."""
    PARK = "park"
    """Set the event aside, and with it the later events of its key, in order, until `runnel dead
    replay`. Events of other keys continue."""
    RETRY_LATER = "retry_later"
    """For events whose order does not matter. A failed event does not wait for its retries in
    place: it steps aside by itself, later events of its key continue, and it comes again when the
    pause before its retry is over. When its retries are used up, it becomes a dead letter with a
    `DeadLetterMiddleware`; otherwise it stays parked, until `runnel dead replay` or `drop`."""
    IGNORE = "ignore"
    """Skip the event, and continue. It becomes a dead letter with a `DeadLetterMiddleware`."""


@dataclass(frozen=True)
class Processor:
    """A processor as declared. Times are in seconds.

    `function` is the user's; a worker awaits `handler` with the events of a partition. `module` is
    its module for the command line. `sink` is the stream for dead letters, if it keeps them.
    """

    app: str
    name: str
    stream: StreamSpec[Any]
    handler: Handler
    function: Callable[..., Any]
    module: str
    policy: ExceptionPolicy
    retries: int
    backoff: float
    backoff_max: float
    commit: CommitMode
    prefetch: int
    middleware: Sequence[Middleware]
    sink: StreamSpec[DeadLetter] | None
    start: str
    #: How many events of a partition may be parked.
    park_limit: int = 1000
    #: Seconds that one event, or one batch, may take; None is no limit.
    timeout: float | None = None
    #: How many events of a partition may be processed at the same time, each of another key.
    concurrency: int = 1
    #: The names of the tables that it may write.
    tables: tuple[str, ...] = ()
    #: Of these tables, the seconds after which a key that was not written is removed.
    expire: Mapping[str, int] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The prefix of the keys of the processor's group."""
        return keys.group(self.app, self.stream.name, self.name)

    @property
    def target(self) -> str:
        """The name of the processor on the command line. Without Python code it has no module."""
        if not self.module:
            return f"{self.app}/{self.stream.name}@{self.name}"
        return f"{self.module}:{self.name}"

    def keys(self, partition: int) -> PartitionKeys:
        """The keys of one partition of this processor."""
        return PartitionKeys(self.stream.prefix(partition), self.name)

    def delay(self, attempts: int) -> float:
        """Seconds before the next try after this many failures."""
        return float(min(self.backoff_max, self.backoff * 2 ** min(attempts - 1, 30)))


def refused(processor: Processor, error: Exception) -> Exception:
    """The exception for a refused registration: a ConfigError that explains it, if the stream has
    the most processors that it may have."""
    if not isinstance(error, BadArgument) or "registered" not in error.details:
        return error
    return ConfigError(
        f"processor {processor.name} cannot be added: stream {processor.stream.name} has "
        f"{error.details['registered']} registered processors, and {error.details['limit']} are "
        "the most there may be; `runnel processor remove` ends one that is not used any more"
    )
