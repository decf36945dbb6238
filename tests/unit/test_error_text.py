"""Errors of user code are described in one line of limited length, whatever they are."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from runnel import App, Record
from runnel.delivery.error_text import MOST, describe_error, traceback_of, traceback_text
from runnel.errors import ConfigError


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


class Sealed(Exception):
    """It takes no notes."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("no")


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError


def fails(error: Exception) -> None:
    raise error


def test_a_traceback_begins_with_the_first_frame_of_the_user() -> None:
    app = App("shop")

    def key(record: Record) -> None:
        fails(ValueError("no"))

    error = raised(lambda: app.stream("s", record=Record, partition_by=key).spec.key(Record()))
    _, same, trace = traceback_of(error, "processor bill")
    assert same is error
    names = [each.name for each in traceback.extract_tb(trace)]
    # Frames of Runnel between those of the user stay.
    assert names == ["raised", "<lambda>", "key", "key", "fails"]
    whole = error.__traceback__
    assert whole is not None
    assert whole.tb_next is not None
    error.__traceback__ = whole.tb_next.tb_next
    names = [each.name for each in traceback.extract_tb(traceback_of(error, "")[2])]
    assert names == ["key", "fails"]


def test_an_error_without_a_frame_of_the_user_keeps_its_traceback() -> None:
    error = raised(lambda: App("no good"))
    trace = error.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    ours = trace.tb_next.tb_next
    error.__traceback__ = ours
    assert isinstance(error, ConfigError)
    assert traceback_of(error, "processor bill")[2] is ours


def test_an_error_says_once_where_it_was_raised_last() -> None:
    error = ValueError("no")
    error.add_note("of the user")
    for event in range(3):
        traceback_of(error, f"processor bill, event {event}")
    assert error.__notes__ == ["of the user", "In Runnel: processor bill, event 2"]
    assert traceback_of(Sealed(), "processor bill")[0] is Sealed


def _caught(raises: Callable[[], object]) -> Exception:
    try:
        raises()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def test_a_traceback_as_text_has_the_last_frames_and_the_errors_before() -> None:
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        else:
            try:
                int("x" * 100_000)
            except ValueError as error:
                raise KeyError("no price") from error

    text = traceback_text(_caught(lambda: deep(100)))
    first, _, last = text.partition("\nand so:\n\n")
    assert 'int("x" * 100_000)' in first
    assert last.endswith("KeyError: 'no price'\n")
    assert last.count("File ") <= 8
    assert len(text) < 4000
    assert traceback_text(ValueError("was never raised")) == ""
    group = ExceptionGroup("two", [_caught(lambda: 1 / 0), ValueError()])
    assert traceback_text(group).endswith("ZeroDivisionError: division by zero\n")


def test_a_traceback_that_cannot_be_told_is_left_out() -> None:
    class Odd(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]
            raise RuntimeError("no")

    assert "Odd" in traceback_text(_caught(lambda: _raise(Odd())))
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert traceback_text(first) == ""
    assert "(its message cannot be shown)" in traceback_text(
        _caught(lambda: _raise(Unsayable(SystemExit())))
    )


def _raise(error: BaseException) -> None:
    raise error
