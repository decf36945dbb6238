"""Observers are told of sends, and one that fails harms nobody."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from runnel import App, ConfigError, Record
from runnel.observer import Headers, Lease, Observer, PartitionObserver, SendObserver, sending, tell


class Sends(Observer, SendObserver):
    """Adds a header, and notes how sends end."""

    def __init__(self, name: str = "seen") -> None:
        self._name = name
        self.ends: list[tuple[Sequence[Any], BaseException | None]] = []

    def sending(self, app: str, stream: str, count: int) -> SendObserver:
        self.about = app, stream, count
        return self

    def headers(self, given: Headers | None) -> Headers:
        return {**(given or {}), self._name: "yes"}

    def ended(self, sent: Sequence[Any], error: BaseException | None) -> None:
        self.ends.append((sent, error))


class Broken(Observer):
    """Raises, whatever it is told."""

    def sending(self, app: str, stream: str, count: int) -> SendObserver:
        raise ValueError("broken")


def test_each_observer_adds_its_headers_and_is_told_the_end() -> None:
    one, two = Sends("one"), Sends("two")
    with sending((one, two), "shop", "orders", 3, {"own": "1"}) as send:
        assert send.headers == {"own": "1", "one": "yes", "two": "yes"}
        send.sent = [1, 2, 3]
    assert one.about == ("shop", "orders", 3)
    assert one.ends == two.ends == [([1, 2, 3], None)]


def test_the_error_of_a_send_is_told_and_raised() -> None:
    one = Sends()
    with pytest.raises(KeyError), sending((one,), "shop", "orders", 1, None):
        raise KeyError("full")
    ((sent, error),) = one.ends
    assert sent == ()
    assert isinstance(error, KeyError)


def test_an_observer_that_fails_harms_no_send_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Sends()
    for _ in range(3):
        with sending((Broken(), one), "shop", "orders", 1, None) as send:
            assert send.headers == {"seen": "yes"}
    assert len(one.ends) == 3
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.getMessage() for each in errors] == [
        "Broken.sending failed, and perhaps will again: broken"
    ]


def test_what_an_observer_returns_is_told_or_something_instead() -> None:
    def half(number: float) -> float:
        return 1 / number

    assert tell(half, 2) == 0.5
    assert tell(half, 0, instead=7) == 7


def test_an_observer_that_does_nothing_changes_nothing() -> None:
    plain = Observer()
    assert isinstance(plain.partition(Lease("a", "p", "s", 0, 1, "m")), PartitionObserver)
    assert plain.emit_headers({"own": "1"}) == {"own": "1"}
    assert plain.sending("a", "s", 1).headers(None) is None
    assert PartitionObserver().may_go_on()


async def test_what_comes_after_the_first_send_is_refused() -> None:
    class Item(Record):
        number: int

    app = App("late")
    app.stream("items", record=Item, partition_by="number")
    app.observe(Observer())
    app.producer()
    with pytest.raises(ConfigError, match="app late has sent, and what observes it comes too late"):
        app.observe(Observer())
    await app.close()
