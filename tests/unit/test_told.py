"""Errors of user code in words: one line of some length, whatever they are."""

from __future__ import annotations

import pytest

from runnel.delivery.error_text import MOST, told


class Unsayable(Exception):
    """Nobody gets its text."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_message_that_cannot_be_made_is_told_as_such(error: BaseException) -> None:
    assert told(Unsayable(error)) == ("Unsayable", "(its message cannot be shown)")


def test_a_message_is_one_line() -> None:
    assert told(ValueError("a\n  b\tc")) == ("ValueError", "a b c")


@pytest.mark.parametrize("whole", ["x" * 5_000_000, "word " * 1_000_000])
def test_of_a_long_message_its_beginning_and_its_length_are_told(whole: str) -> None:
    _, said = told(ValueError(whole))
    assert said.startswith(whole[:MOST])
    assert said.endswith("(5000000 characters)")
    assert len(said) < MOST + 40


def test_what_is_as_long_as_it_may_be_is_told_whole() -> None:
    assert told(ValueError("x" * MOST)) == ("ValueError", "x" * MOST)
