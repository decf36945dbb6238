"""What a processor is: user code, the stream it reads, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """What to do with an event once its retries are used up."""

    QUARANTINE = "quarantine"
    """The default: stop this partition for every worker until `runnel processor resume`. All other
    partitions go on."""
    HALT = "halt"
    """Stop the worker with an error. The event stays; nothing behind it is processed."""
    IGNORE = "ignore"
    """Set the event aside, as a dead letter if there is a `DeadLetterMiddleware`, and go on."""


@dataclass(frozen=True)
class Processor:
    """A processor as declared. Times are in seconds.

    `function` is what the user wrote, `handler` what a worker awaits with the events of a
    partition; `module` is where the command line finds it. `sink` is where dead letters go, if
    anywhere.
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
    #: Seconds that one event, or one batch, may take; None for as long as it needs.
    timeout: float | None = None

    @property
    def group(self) -> str:
        """What the keys of the processor's group start with."""
        return keys.group(self.app, self.stream.name, self.name)

    @property
    def target(self) -> str:
        """What the command line calls it."""
        return f"{self.module}:{self.name}"

    def keys(self, partition: int) -> PartitionKeys:
        """The keys of one partition of this processor."""
        return PartitionKeys(self.stream.prefix(partition), self.name)

    def delay(self, attempts: int) -> float:
        """Seconds before the next try after so many failures."""
        return float(min(self.backoff_max, self.backoff * 2 ** min(attempts - 1, 30)))


def refused(processor: Processor, error: Exception) -> Exception:
    """What to raise where a partition refuses to register a processor: with a sentence, if as many
    are registered as there may be."""
    if not isinstance(error, BadArgument) or "registered" not in error.details:
        return error
    return ConfigError(
        f"processor {processor.name} cannot be added: stream {processor.stream.name} has "
        f"{error.details['registered']} registered processors, and {error.details['limit']} are "
        "the most there may be; `runnel processor remove` ends one that is not used any more"
    )
