"""Handler processes start again, and the event that kills them is found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runnel.cli.event_loop import Runner
from runnel.errors import ConfigError, HandlerDied
from runnel.sidecar import handler_slot
from runnel.sidecar.handler_slot import Handlers, HandlerSlot
from runnel.sidecar.wire import Json, request
from tests.sidecars import OK, shell


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers start again at once."""
    monkeypatch.setattr(handler_slot, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(handler_slot, "SETTLE", 0.05)


@asynccontextmanager
async def running(command: tuple[str, ...], timeout: float = 30.0) -> AsyncIterator[HandlerSlot]:
    slot = HandlerSlot(command, 0, timeout)
    await slot.start()
    try:
        yield slot
    finally:
        await slot.close()


def of(name: str) -> Callable[[int], bytes]:
    """Makes the line of a request about `name`."""
    return lambda number: request({"id": number, "name": name})


def names(*given: str) -> list[Callable[[int], bytes]]:
    return [of(each) for each in given]


POISON = f"case $line in *poison*) exit 9;; esac; {OK}"


async def test_one_event_that_kills_the_handler_condemns_no_other() -> None:
    good = [f"good-{n}" for n in range(10)]
    async with running(shell(POISON)) as slot:
        for _ in range(3):
            asked = [slot.ask(each) for each in names(*good[:5], "poison", *good[5:])]
            found = await asyncio.gather(*asked, return_exceptions=True)
            died = [each for each in found if isinstance(each, BaseException)]
            assert len(found) == 11
            assert [str(each) for each in died] == ["the handler process ended with exit code 9"]
            assert found[5] is died[0]
        assert (await slot.ask(of("good")))["result"] == "ok"


async def test_two_that_kill_it_are_both_found() -> None:
    async with running(shell(POISON)) as slot:
        asked = [slot.ask(each) for each in names("a", "poison-1", "b", "poison-2", "c")]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(each, HandlerDied) for each in found] == [False, True, False, True, False]


async def test_one_that_blocks_the_handler_is_found_by_its_silence() -> None:
    blocks = f"case $line in *poison*) sleep 60;; esac; {OK}"
    async with running(shell(blocks), timeout=0.3) as slot:
        asked = [slot.ask(each) for each in names("a", "poison", "b")]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(each, HandlerDied) for each in found] == [False, True, False]
    assert "wrote no result for 0.3 s" in str(found[1])


async def test_a_handler_that_a_signal_without_a_name_kills_is_started_again(
    tmp_path: Path,
) -> None:
    once = f'[ -e "{tmp_path}/died" ] || {{ touch "{tmp_path}/died"; kill -40 $$; }}; {OK}'
    async with running(shell(once)) as slot:
        with pytest.raises(HandlerDied, match="was killed by signal 40"):
            await slot.ask(of("x"))
        assert (await slot.ask(of("x")))["result"] == "ok"


class Useless:
    """A process that takes no request, and does not say that it has died."""

    died = ""

    async def ask(self, _: int, __: bytes) -> Json:
        error = HandlerDied("no")
        error.alone = error.given = False
        raise error

    async def close(self) -> None:
        pass


@pytest.mark.timeout(30)
async def test_a_request_that_no_process_takes_does_not_keep_the_event_loop() -> None:
    slot = HandlerSlot((), 0, 30.0)
    slot._process = Useless()  # type: ignore[assignment]
    asked = [asyncio.ensure_future(each) for each in (slot.ask(of("x")), slot._ask_alone(of("y")))]
    for _ in range(10):
        await asyncio.sleep(0)
    assert not any(each.done() for each in asked)
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_a_handler_that_dies_while_it_has_nothing_is_started_again(tmp_path: Path) -> None:
    dies_once = f'{OK}; [ -e "{tmp_path}/died" ] || {{ touch "{tmp_path}/died"; exit 1; }}'
    async with running(shell(dies_once)) as slot:
        assert (await slot.ask(of("x")))["result"] == "ok"
        assert slot._process is not None
        assert await slot._process.ended_within(30)
        assert (await slot.ask(of("x")))["result"] == "ok"


async def test_the_pauses_between_starts_grow_until_it_has_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handler_slot, "FIRST_DELAY", 0.002)
    monkeypatch.setattr(handler_slot, "LONGEST_DELAY", 0.006)
    with caplog.at_level(logging.WARNING, "runnel.handler"):
        async with running(shell(POISON)) as slot:
            for name in ("poison", "poison", "poison", "poison", "good", "poison", "good"):
                await asyncio.gather(slot.ask(of(name)), return_exceptions=True)
    said = [each.getMessage() for each in caplog.records]
    pauses = [each.rpartition(" in ")[2] for each in said if "starts again" in each]
    assert pauses == ["0.002 s", "0.004 s", "0.006 s", "0.006 s", "0.002 s"]


async def test_a_caller_that_leaves_holds_up_nobody() -> None:
    async with running(shell(POISON)) as slot:
        left = [asyncio.ensure_future(slot.ask(each)) for each in names("poison", "a", "b")]
        await asyncio.sleep(0)
        for each in left:
            each.cancel()
        assert (await slot.ask(of("good")))["result"] == "ok"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("./no-such-program",), "the handler './no-such-program' cannot be started: No such file"),
        (
            ("sh", "-c", "echo no >&2; exit 4"),
            "stderr is in the log: the handler process ended with exit code 4",
        ),
        (
            ("sh", "./no-such-script"),
            "the handler failed as soon as it was started, and what it wrote to stderr",
        ),
    ],
)
async def test_a_handler_that_cannot_work_is_refused_at_the_start(
    command: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_slot, "SETTLE", 10.0)
    handlers = Handlers(command, 2, 30.0)
    with pytest.raises(ConfigError) as caught:
        async with handlers.running():
            pass
    assert says in str(caught.value)


async def test_a_program_that_disappears_fails_the_event_and_is_tried_again(
    tmp_path: Path,
) -> None:
    program = tmp_path / "handler"
    program.write_text("#!/bin/sh\nread line; exit 1\n")
    program.chmod(0o755)
    async with running((str(program),)) as slot:
        program.rename(tmp_path / "away")
        with pytest.raises(HandlerDied, match="exit code 1"):
            await slot.ask(of("a"))
        with pytest.raises(HandlerDied, match=r"cannot be started: .*No such file"):
            await slot.ask(of("a"))
        program.write_text(f"#!/bin/sh\n{shell(OK)[2]}\n")
        program.chmod(0o755)
        assert (await slot.ask(of("a")))["result"] == "ok"


async def test_a_partition_always_has_the_same_handler() -> None:
    tells = 'echo "{\\"id\\":$id,\\"pid\\":$$}"'
    handlers = Handlers(shell(tells), 2, 30.0)

    async def pid(partition: int) -> int:
        found: Json = await handlers.ask(partition, of("x"))
        return int(found["pid"])

    async with handlers.running():
        pids = [await pid(partition) for partition in (0, 1, 2, 3, 0)]
    assert pids == [pids[0], pids[1], pids[0], pids[1], pids[0]]
    assert pids[0] != pids[1]


@pytest.mark.parametrize("body", [f"{OK}; exit 1", f"{OK}; exec <&- >&-; exit 1"])
def test_a_request_that_comes_when_the_handler_has_just_ended_is_no_other_error(body: str) -> None:
    """In the event loop that a worker has, where writing to a pipe that was closed is an error. The
    handler may have read the request: then nobody knows whether it is to blame."""

    async def many() -> list[object]:
        async with running(shell(body)) as slot:
            asked = [slot.ask(of(str(n))) for n in range(20)]
            return await asyncio.gather(*asked, return_exceptions=True)

    with Runner() as loop:
        found = loop.run(many())
    assert {type(each) for each in found} <= {dict, HandlerDied}
