"""Each caller gets an error of its own, and what it adds to it stays its own."""

from __future__ import annotations

from redis.exceptions import ConnectionError

from runnel.errors import Full
from runnel.producer.error_copies import copy_of, with_sent


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_copy_has_the_text_the_details_and_the_traceback() -> None:
    error = raised(Full("FULL", {"processor": "billing"}))
    copied = copy_of(error)
    assert copied is not error
    assert type(copied) is Full
    assert (str(copied), copied.details) == ("FULL", {"processor": "billing"})
    assert copied.__traceback__ is error.__traceback__


def test_what_is_added_to_a_copy_is_not_in_the_other() -> None:
    error = Full("FULL")
    copied = copy_of(error)
    with_sent(copied, [None, "sent"])
    assert vars(copied)["sent"] == [None, "sent"]
    assert error.sent == ()


def test_what_was_sent_can_be_added_to_any_error() -> None:
    error = ConnectionError("away")
    with_sent(error, (None,))
    assert vars(error)["sent"] == [None]


def test_an_error_that_cannot_be_copied_is_shared() -> None:
    class Odd(ValueError):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one + two)

    error = Odd("a", "b")
    assert copy_of(error) is error
