"""The type of an option that takes seconds."""

from __future__ import annotations

import math
from typing import Any

import click

from runnel.settings import YEAR


class Seconds(click.FloatRange):
    """Seconds from `min` to a year. click.FloatRange alone accepts nan, which is neither below nor
    above any limit."""

    def __init__(self, min: float) -> None:
        super().__init__(min=min, max=YEAR)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number
