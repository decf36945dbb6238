"""Errors of user code are described in one line of limited length, whatever they are."""

from __future__ import annotations

import pytest

from runnel.delivery.error_text import MOST, describe_error


class Unsayable(Exception):
    """Its message cannot be made."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_message_that_cannot_be_made_is_replaced(error: BaseException) -> None:
    assert describe_error(Unsayable(error)) == ("Unsayable", "(its message cannot be shown)")


def test_a_message_is_one_line() -> None:
    assert describe_error(ValueError("a\n  b\tc")) == ("ValueError", "a b c")


@pytest.mark.parametrize("whole", ["x" * 5_000_000, "word " * 1_000_000])
def test_a_long_message_is_cut_and_its_length_is_given(whole: str) -> None:
    _, said = describe_error(ValueError(whole))
    assert said.startswith(whole[:MOST])
    assert said.endswith("(5000000 characters)")
    assert len(said) < MOST + 40


def test_the_longest_message_that_fits_is_not_cut() -> None:
    assert describe_error(ValueError("x" * MOST)) == ("ValueError", "x" * MOST)
