"""The types of options that take seconds."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from runnel.durations import YEAR


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


class Age(click.ParamType):  # type: ignore[type-arg]
    """A time such as 7d, 12h, 30m, 45s or 45, in ms, from a second on."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = _AGE.fullmatch(str(value))
        ms = int(found[1]) * _UNITS[found[2]] if found else 0
        if not 1000 <= ms <= MOST_AGE:
            self.fail(f"{value!r} is not a time such as 7d, 12h, 30m or 45s.", param, ctx)
        return ms


_AGE = re.compile(r"(\d{1,10})([dhms]?)", re.ASCII)
_UNITS = {"": 1000, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: The most that `App.stream` takes, in ms.
MOST_AGE = int(100 * YEAR * 1000)


#: The value of --wait without seconds.
FOREVER = "forever"


class Wait(Seconds):
    """Seconds, or True for `FOREVER`."""

    def __init__(self) -> None:
        super().__init__(0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return True if value in (True, FOREVER) else super().convert(value, param, ctx)


class WithWait(click.Command):
    """A command with --wait, which needs no seconds in front of another argument either."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--wait" in args:
            at = args.index("--wait") + 1
            if at < len(args) and args[at] != FOREVER and not is_number(args[at]):
                args[at - 1 : at] = [f"--wait={FOREVER}"]
        return super().parse_args(ctx, args)


def is_number(text: str) -> bool:
    """Does Python read this as a number?"""
    try:
        float(text)
    except ValueError:
        return False
    return True
