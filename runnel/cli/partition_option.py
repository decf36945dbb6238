"""The option --partition of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from runnel.cli import exits
from runnel.operations.partition_ranges import read_ranges
from runnel.stream import StreamSpec


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """A command-line option: partitions as `inspect` writes them, ``3``, ``0-3`` or ``0-3,7``."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return read_ranges(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


option = click.option(
    "--partition",
    "partitions",
    type=Numbers(),
    multiple=True,
    help="Only this partition or these: 3, 0-3 or 0-3,7. May be repeated.",
)


def chosen_partitions(
    spec: StreamSpec[Any], partitions: Sequence[Sequence[int]]
) -> list[int] | None:
    """The partitions of --partition, or None for all. Exits with 2 if one does not exist."""
    numbers = sorted({each for several in partitions for each in several})
    if numbers and numbers[-1] >= spec.partition_count:
        most = spec.partition_count - 1
        exits.fail(f"--partition must be 0 to {most}, not {numbers[-1]}", exits.USAGE)
    return numbers or None
