"""An option of seconds takes every finite number in its range, and nothing else."""

from __future__ import annotations

import click
import pytest

from runnel.cli.numbers import MOST_AGE, Age, Seconds, Wait, WithWait
from runnel.durations import YEAR


@pytest.mark.parametrize("text", ["0.1", "1", "2.5e3", str(YEAR)])
def test_a_number_of_seconds_is_accepted(text: str) -> None:
    assert Seconds(0.1).convert(text, None, None) == float(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nan", "'nan' is not a number of seconds"),
        ("inf", "is not in the range"),
        ("1e308", "is not in the range"),
        ("0.09", "is not in the range"),
        ("-1", "is not in the range"),
        (str(2 * YEAR), "is not in the range"),
        ("soon", "'soon' is not a valid float"),
        ("", "'' is not a valid float"),
    ],
)
def test_what_is_no_number_of_seconds_is_refused(text: str, says: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        Seconds(0.1).convert(text, None, None)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a"], (None, "a")),
        (["a", "--wait"], (True, "a")),
        (["--wait", "a"], (True, "a")),
        (["--wait", "forever", "a"], (True, "a")),
        (["--wait", "-"], (True, "-")),
        (["--wait", "5", "a"], (5.0, "a")),
        (["--wait=0", "a"], (0.0, "a")),
    ],
)
def test_wait_needs_no_seconds_before_another_argument(
    arguments: list[str], expected: tuple[object, str]
) -> None:
    found: list[tuple[object, str]] = []

    @click.command(cls=WithWait)
    @click.argument("text")
    @click.option("--wait", type=Wait(), is_flag=False, flag_value="forever")
    def command(text: str, wait: float | None) -> None:
        found.append((wait, text))

    command.main(arguments, standalone_mode=False)
    assert found == [expected]


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1", 1_000), ("45s", 45_000), ("30m", 1_800_000), ("12h", 43_200_000), ("7d", 604_800_000)],
)
def test_an_age_has_a_unit_or_is_in_seconds(text: str, ms: int) -> None:
    assert Age().convert(text, None, None) == ms
    assert Age().convert(f"{MOST_AGE // 1000}", None, None) == MOST_AGE


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "7 d", "1w", "d", "٧d", "9999999999d"])
def test_another_text_is_no_age(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time such as 7d, 12h, 30m or 45s"):
        Age().convert(text, None, None)
