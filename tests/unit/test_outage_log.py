"""What a worker says while Redis does not answer, and of partitions that move: one line each."""

from __future__ import annotations

import asyncio
import logging
import logging.config
from collections.abc import Iterator

import pytest
from redis.exceptions import BusyLoadingError, ConnectionError, OutOfMemoryError, TimeoutError

from runnel.errors import Conflict, Fenced, ProtocolError
from runnel.log import about, fields_here, logger_of
from runnel.worker import outage_log, rebalance_log
from runnel.worker.outage_log import Unanswered
from runnel.worker.rebalance_log import Moves

LOST = ConnectionError("connection closed by server")


class Clock:
    """Seconds, as the test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What was logged."""
    kept, logger = Kept(), logging.getLogger("runnel")
    before = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept.records
    logger.removeHandler(kept)
    logger.setLevel(before)


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
    assert first == f"processor p: Redis does not answer (heartbeat), asking again: {LOST}"
    assert last == (
        "processor p: Redis answers again, after 6.0 s: 90 calls (heartbeat 30, commit 30, read "
        "30) had failed"
    )


def test_a_long_outage_is_told_again_less_and_less_often(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    calls = Unanswered("processor p", clock)
    for _ in range(3600):
        calls.failed("read", LOST)
        clock.now += 1
    assert 8 < len(said) < 20
    assert (
        "Redis still does not answer after 10 s, asking again: 11 calls (read 11)" in texts(said)[1]
    )


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
    clock.now += outage_log.STALE_GRANT + 1
    calls.answered("heartbeat")
    assert "Redis answers again" in texts(said)[-1]


def test_what_comes_and_goes_is_not_told_each_time(
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
    assert len(said) == before + 2, "a new one is told"


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
def test_a_refusal_is_not_called_silence(
    clock: Clock, said: list[logging.LogRecord], error: Exception, what: str, over: str
) -> None:
    calls = Unanswered("processor p", clock)
    calls.failed("commit", error)
    calls.answered("commit")
    assert f"Redis {what} (commit)" in texts(said)[0]
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


async def test_a_rebalance_is_one_line(
    said: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebalance_log, "SETTLED", 0.01)
    held = set(range(16))
    told = Moves("orders", lambda: held, 16)
    for partition in range(8, 16):
        held.remove(partition)
        told.gave()
        await asyncio.sleep(0)
    told.tell()
    told.tell()
    assert texts(said) == ["processor orders: gave 8, took 0: now 0-7 (8 of 16 claimed)"]
    assert getattr(said[0], "partitions", None) == list(range(8))
    for partition in (9, 11):
        held.add(partition)
        told.took(after="w-1" if partition == 11 else "")
    held.remove(0)
    told.gave()
    await asyncio.sleep(0.2)  # It is told by itself.
    assert texts(said)[1] == (
        "processor orders: gave 1, took 2, 1 of them from w-1, which was lost or did not give them "
        "back in time: now 1-7,9,11 (9 of 16 claimed)"
    )
    assert [each.levelname for each in said] == ["INFO", "WARNING"]
    held.clear()
    for _ in range(9):
        told.gave()
    told.tell()
    assert texts(said)[2] == "processor orders: gave 9, took 0: now none (0 of 16 claimed)"


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Fenced("FENCED", {}), "another member has claimed it since, or an operator has moved it"),
        (Conflict("CONFLICT stored=1-0", {}), "CONFLICT stored=1-0"),
    ],
)
async def test_what_is_lost_for_one_reason_is_one_line(
    said: list[logging.LogRecord], refusal: ProtocolError, why: str
) -> None:
    told = Moves("orders", list, 16)
    rebalance_log.watch(told)
    for partition in (3, 1, 2, 9):
        rebalance_log.lost(partition, refusal)
        told.gave()
    told.tell()
    assert texts(said) == [
        f"processor orders gives up partitions 1-3,9: {why}",
        "processor orders: gave 4, took 0: now none (0 of 16 claimed)",
    ]


async def test_lines_carry_the_fields_of_their_task(said: list[logging.LogRecord]) -> None:
    logger = logger_of("runnel.test")

    async def partition(number: int) -> None:
        about(partition=number)
        await asyncio.sleep(0)
        logger.info("one")
        logger.info("two", extra={"partition": 99})

    about(processor="p")
    await asyncio.gather(partition(1), partition(2))
    assert "partition" not in fields_here()
    found = [(vars(each)["processor"], vars(each)["partition"]) for each in said]
    assert sorted(found) == [("p", 1), ("p", 2), ("p", 99), ("p", 99)]


def test_a_set_up_that_knows_nothing_of_runnel_does_not_silence_it() -> None:
    logging.getLogger("runnel.early").setLevel("INFO")  # Before Runnel asks for it.
    early, logger = logger_of("runnel.early"), logger_of("runnel.test")
    try:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
        assert not logger.disabled
        assert logger.isEnabledFor(logging.ERROR)
        assert early.isEnabledFor(logging.INFO)
    finally:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})


def test_an_error_without_a_message_is_told_by_its_name(
    clock: Clock, said: list[logging.LogRecord]
) -> None:
    Unanswered("processor work", clock).failed("commit", TimeoutError())
    assert said[0].getMessage().endswith("(commit), asking again: TimeoutError")
