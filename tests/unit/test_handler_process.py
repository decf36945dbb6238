"""One handler process: what it writes, how it ends, and what it does wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from runnel.errors import HandlerDied
from runnel.sidecar import handler_process
from runnel.sidecar.handler_process import HandlerProcess
from tests.sidecars import OK, line, shell
from tests.worker.workers import until

Start = Callable[..., Awaitable[HandlerProcess]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts processes, which are ended at the end."""
    started = []

    async def begin(command: Sequence[str], timeout: float = 30.0) -> HandlerProcess:
        made = await HandlerProcess.start(command, 0, timeout)
        started.append(made)
        return made

    yield begin
    for each in started:
        each._signal(signal.SIGKILL)
        await each.close()


async def test_each_request_gets_its_result(start: Start) -> None:
    process = await start(shell(OK))
    asked = [process.ask(number, line(number)) for number in range(1, 201)]
    found = await asyncio.gather(*asked)
    assert [each["id"] for each in found] == list(range(1, 201))
    assert process.results == 200
    await process.close()
    assert process.died == (
        "the handler process ended with exit code 0: a handler must read lines until its stdin ends"
    )


async def test_results_in_another_order_find_their_requests(start: Start) -> None:
    swap = 'if [ -z "$first" ]; then first=$id; else ' + OK + f"; id=$first; {OK}; fi"
    process = await start(shell(swap))
    found = await asyncio.gather(process.ask(1, line(1)), process.ask(2, line(2)))
    assert [each["id"] for each in found] == [1, 2]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("exit 3", "ended with exit code 3"),
        ("exit 0", "ended with exit code 0: a handler must read lines until its stdin ends"),
        ("kill -9 $$", "was killed by SIGKILL"),
        ("kill -40 $$", "was killed by signal 40"),
        ("exec >&-; sleep 60", "closed its stdout"),
        ("exec <&- >&- 2>&-; sleep 60", "closed its stdout"),
        ("echo debug", "wrote to its stdout what is no result: 'debug'"),
        ("echo; sleep 60", "wrote to its stdout what is no result: ''"),
        ("printf '\\377\\n'", "what is no result: '\\\\xff'"),
        ('echo "{\\"id\\":99,\\"result\\":\\"ok\\"}"', "for a request that it does not have"),
        (f"{OK}; {OK}; sleep 60", "for a request that it does not have"),
    ],
)
async def test_a_process_that_cannot_go_on_fails_what_it_has(
    start: Start, body: str, says: str
) -> None:
    process = await start(shell(body))
    asked = [asyncio.ensure_future(process.ask(number, line(number))) for number in (1, 2)]
    if OK in body:
        await asked[0]
    with pytest.raises(HandlerDied) as caught:
        await asked[1]
    assert says in str(caught.value)
    if OK not in body:
        with pytest.raises(HandlerDied) as first:
            await asked[0]
        assert [caught.value.alone, first.value.alone] == [False, False]
    with pytest.raises(HandlerDied):
        await process.ask(3, line(3))


async def test_a_result_before_the_end_counts_and_the_only_request_is_to_blame(
    start: Start,
) -> None:
    process = await start(shell(f'[ "$id" = 1 ] && {OK} || exit 5'))
    first, second = (asyncio.ensure_future(process.ask(n, line(n))) for n in (1, 2))
    assert (await first)["result"] == "ok"
    with pytest.raises(HandlerDied, match="exit code 5") as caught:
        await second
    assert caught.value.alone


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sleep 60", "wrote no result for 0.3 s: it waits for something, or does not flush"),
        ('printf "{\\"id\\":$id"; sleep 60', "for 0.3 s, only '{\"id\":1' without a line end"),
    ],
)
async def test_a_silent_process_is_killed_and_the_likely_cause_is_named(
    start: Start, body: str, says: str
) -> None:
    process = await start(shell(body), timeout=0.3)
    with pytest.raises(HandlerDied) as caught:
        await process.ask(1, line(1))
    assert says in str(caught.value)
    assert caught.value.alone
    assert await process.ended_within(30)


async def test_a_request_that_is_never_answered_has_its_time_although_others_are(
    start: Start,
) -> None:
    process = await start(shell(f'[ "$id" = 1 ] || {OK}'), timeout=1.0)
    await process.ask(0, line(0))
    lost = asyncio.ensure_future(process.ask(1, line(1)))
    number = 1
    while not lost.done():
        number += 1
        with suppress(HandlerDied):
            await process.ask(number, line(number))
    with pytest.raises(HandlerDied, match=r"none for its oldest request \(1\) for 1 s"):
        await lost


async def test_the_time_begins_again_with_each_oldest_request_that_is_answered(
    start: Start,
) -> None:
    """Else a process that answers in turn would have one time for all that it has."""
    process = await start(shell(OK))
    asked = [asyncio.ensure_future(process.ask(number, line(number))) for number in (1, 2)]
    await asyncio.sleep(0)
    first = process._silence
    assert first is not None
    await asked[0]
    assert first.cancelled()
    assert process._silence is not first
    await asked[1]


async def test_a_process_without_a_request_may_be_silent(start: Start) -> None:
    process = await start(shell(OK), timeout=0.2)
    await process.ask(1, line(1))
    assert not await process.ended_within(0.5)
    assert (await process.ask(2, line(2)))["id"] == 2


async def test_a_request_whose_caller_has_left_is_in_hand_until_its_result(start: Start) -> None:
    process = await start(shell(f'[ "$id" = 2 ] && exit 1; {OK}'))
    left = asyncio.ensure_future(process.ask(1, line(1)))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(HandlerDied):
        await process.ask(2, line(2))
    assert process.results == 1  # It was taken in, and nobody minds.


@pytest.mark.parametrize("size", [1_048_576, 6_000_000])
async def test_large_lines_pass_in_both_directions(start: Start, size: int) -> None:
    echo = (
        "import sys\nfor line in sys.stdin:\n    sys.stdout.write(line)\n    sys.stdout.flush()\n"
    )
    process = await start([sys.executable, "-c", echo])
    text = "x" * size
    found = await process.ask(1, b'{"id":1,"text":"%s"}\n' % text.encode())
    assert len(found["text"]) == size


async def test_a_line_without_end_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_process, "LONGEST_RESULT", 100_000)
    process = await start(shell("yes x | tr -d '\\n'"))
    with pytest.raises(HandlerDied, match="wrote a line of more than 100000 bytes"):
        await process.ask(1, line(1))


async def test_if_what_watches_it_fails_its_requests_fail(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> str:
        raise ValueError("no")

    monkeypatch.setattr(handler_process, "_end_of", broken)
    process = await start(shell("exit 3"))
    with pytest.raises(HandlerDied, match="what watched it has failed"):
        await process.ask(1, line(1))
    with pytest.raises(ValueError, match="no"):
        await process._task


@pytest.mark.parametrize("body", ["sleep 60", "kill -9 $$", "echo debug; sleep 60"])
async def test_a_process_that_is_killed_leaves_asyncio_in_order(start: Start, body: str) -> None:
    wrong: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: wrong.append(about))
    process = await start(shell(body), timeout=0.2)
    with pytest.raises(HandlerDied):
        await process.ask(1, line(1))
    assert await process.ended_within(30)
    await process._pipe_closed()
    assert wrong == []


async def test_what_it_writes_to_stderr_is_logged(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    says = "echo one >&2; printf '\\377two' >&2; head -c 20000 /dev/zero | tr '\\0' z >&2"
    with caplog.at_level(logging.INFO, "runnel.handler"):
        process = await start(shell(f"{says}; {OK}"))
        await process.ask(1, line(1))
        await process.close()
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert said[0] == "handler 0: one"
    assert said[1].startswith("handler 0: \\xfftwozzz")
    assert sum(each.count("z") for each in said) == 20_000
    assert all(len(each) < 9000 for each in said)


async def test_a_process_that_ignores_its_end_is_killed_with_what_it_has_started(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handler_process, "END_AFTER_EOF", 0.2)
    monkeypatch.setattr(handler_process, "END_AFTER_SIGTERM", 0.2)
    stubborn = f"trap '' TERM; sleep 600 & child=$!; echo $child >&2; {OK}; while :; do wait; done"
    with caplog.at_level(logging.INFO, "runnel.handler"):
        process = await start(shell(stubborn))
        await process.ask(1, line(1))
        await process.close()
    said = [each.getMessage() for each in caplog.records]
    assert "handler 0 ignores SIGTERM: it gets SIGKILL" in said
    child = int(said[0].removeprefix("handler 0: "))
    await until(partial(_is_gone, child), "the child is gone")


async def test_a_program_that_does_not_exist_cannot_be_started(start: Start) -> None:
    with pytest.raises(OSError, match="No such file"):
        await start(["./no-such-program"])


async def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
