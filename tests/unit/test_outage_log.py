"""An outage of Redis is a few log lines, however many calls fail."""

from __future__ import annotations

import asyncio
import logging
import logging.config

import pytest
from redis.exceptions import BusyLoadingError, ConnectionError, OutOfMemoryError, TimeoutError

from runnel.log import about
from runnel.worker import outage_log
from runnel.worker.outage_log import Unanswered

LOST = ConnectionError("connection closed by server")


class Clock:
    """Seconds, as the test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def texts(said: list[logging.LogRecord]) -> list[str]:
    return [each.getMessage() for each in said]


def test_an_outage_is_two_lines(clock: Clock, said: list[logging.LogRecord]) -> None:
    calls = Unanswered("processor p", clock)
    for _ in range(30):
        for call in ("heartbeat", "commit", "read"):
            calls.failed(call, LOST)
        clock.now += 0.2
    for call in ("read", "heartbeat", "commit"):
        calls.answered(call)
    first, last = texts(said)
    assert first == f"processor p: heartbeat failed, Redis does not answer, retrying: {LOST}"
    assert last == (
        "processor p: Redis answers again, after 6.0 s: 90 calls (heartbeat 30, commit 30, read "
        "30) had failed"
    )


def test_a_long_outage_is_logged_again_less_and_less_often(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    calls = Unanswered("processor p", clock)
    for _ in range(3600):
        calls.failed("read", LOST)
        clock.now += 1
    assert 8 < len(said) < 20
    assert "Redis still does not answer after 10 s, retrying: 11 calls (read 11)" in texts(said)[1]


def test_it_is_over_when_the_last_call_is_answered(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    calls = Unanswered("processor p", clock)
    calls.failed("read", LOST)
    calls.failed("commit", TimeoutError("no answer within 5 s"))
    calls.answered("heartbeat")
    calls.answered("read")
    assert len(said) == 1
    calls.answered("commit")
    assert len(said) == 2


def test_a_call_that_nobody_makes_again_does_not_keep_it_open(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    calls = Unanswered("processor p", clock)
    calls.failed("claim", LOST)
    calls.failed("heartbeat", LOST)
    clock.now += outage_log.FORGET_AFTER + 1
    calls.answered("heartbeat")
    assert "Redis answers again" in texts(said)[-1]


def test_a_repeated_short_outage_is_not_logged_each_time(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    calls = Unanswered("processor p", clock)
    for _ in range(600):
        calls.failed("read", LOST)
        clock.now += 0.5
        calls.answered("read")
        clock.now += 0.5
    assert len(said) < 20
    assert "600 calls" not in texts(said)[0]
    clock.now += outage_log.MOST + 1
    before = len(said)
    calls.failed("read", LOST)
    calls.answered("read")
    assert len(said) == before + 2, "a new one is logged"


def test_answers_without_an_outage_say_nothing(clock: Clock, said: list[logging.LogRecord]) -> None:
    calls = Unanswered("processor p", clock)
    for call in ("read", "commit"):
        calls.answered(call)
    assert not said


@pytest.mark.parametrize(
    ("error", "what", "over"),
    [
        (LOST, "does not answer", "answers again"),
        (BusyLoadingError("loading"), "does not answer", "answers again"),
        (OSError("no route"), "does not answer", "answers again"),
        (OutOfMemoryError("OOM"), "refuses calls", "takes calls again"),
    ],
)
def test_a_refusal_is_not_logged_as_no_answer(
    clock: Clock, said: list[logging.LogRecord], error: Exception, what: str, over: str
) -> None:
    calls = Unanswered("processor p", clock)
    calls.failed("commit", error)
    calls.answered("commit")
    assert f"commit failed, Redis {what}" in texts(said)[0]
    assert f"Redis {over}" in texts(said)[1]


async def test_each_processor_has_its_own(said: list[logging.LogRecord]) -> None:
    async def outage(name: str) -> None:
        about(processor=name)
        outage_log.watch(f"processor {name}")

        async def call() -> None:
            outage_log.failed("read", LOST)

        await asyncio.gather(call(), call())
        outage_log.answered("read")

    await asyncio.gather(outage("a"), outage("b"))
    assert len(said) == 4
    assert {getattr(each, "processor", None) for each in said} == {"a", "b"}
    for each in said:
        assert f"processor {getattr(each, 'processor', None)}:" in each.getMessage()


def test_an_error_without_a_message_is_logged_by_its_name(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    Unanswered("processor work", clock).failed("commit", TimeoutError())
    assert texts(said) == [
        "processor work: commit failed, Redis does not answer, retrying: TimeoutError"
    ]
