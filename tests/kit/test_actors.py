"""Commands as processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runnel.conformance import actors
from runnel.errors import ConfigError
from tests.kit.conftest import Start

LINE = '{"partition":0,"id":"1-0","record":{"key":"a","number":1}}'


async def test_lines_and_environment(start: Start) -> None:
    script = f"echo note; echo '{LINE}'; echo '{{x'; echo $RUNNEL_CONFORMANCE_MEMBER >&2"
    script += "; echo $RUNNEL_SESSION_TIMEOUT $RUNNEL_REDIS_URL >&2; exit 3"
    actor = start("sh", "-c", script)
    assert await actor.ended(10)
    assert actor.exit_code == 3
    (line,) = actor._history.lines
    assert (line.actor, line.done.id, line.after <= line.before) == ("w1", (1, 0), True)
    (bad,) = actor._history.bad_lines
    assert "it is not valid JSON" in bad[1]
    assert actor.log.read_text().split() == ["m1", "1.5", actor.proxy.url]


async def test_a_producer_is_given_records(start: Start) -> None:
    program = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    actor = start(sys.executable, "-c", program, producer=True)
    for number in range(2000):  # More than a pipe holds.
        actor.write(b'{"key":"a","number":%d,"error":"%s"}\n' % (number, 100 * b"x"))
    while actor.unsaid:
        assert actor.alive
        actor.look()
    actor.finish()
    assert await actor.ended(10)
    assert (actor.given, actor.unsaid, actor.exit_code) == (2000, 0, 0)
    assert [sent.number for _, sent in actor._history.sent] == list(range(2000))
    assert actor.surplus == []


async def test_a_producer_that_answers_more_than_it_was_given(start: Start) -> None:
    program = (
        "import sys\nfor line in sys.stdin: print(line + line.replace('a', 'b'), line, end='')"
    )
    actor = start(sys.executable, "-c", program.replace(", line,", " + line,"), producer=True)
    actor.write(b'{"key":"a","number":1,"id":"1-0"}\n')
    actor.finish()
    assert await actor.ended(10)
    assert (actor.unsaid, actor.given) == (0, 1)
    assert actor.surplus == [
        ("a line names a record that the producer was never given", "number 1 of 'b'"),
        ("a record was acknowledged more than once", "number 1 of 'a'"),
    ]
    assert "w1: acknowledged number 1 of 'a' as 1-0" in actor._history.text()


async def test_signals_reach_what_the_command_starts(start: Start) -> None:
    actor = start("sh", "-c", "sleep 100 & echo '{'; wait")
    while not actor._history.bad_lines:
        actor.look()
    actor.signal(signal.SIGKILL)
    assert await actor.ended(10)
    assert actor.told is not None
    assert actor.told[0] == signal.SIGKILL
    while True:  # Until the pipe has no writer: then `sleep` has ended, too.
        try:
            if os.read(actor._output, 10) == b"":
                break
        except BlockingIOError:
            continue


ORPHANED = """
import os, signal
from pathlib import Path
from types import SimpleNamespace
from runnel.conformance.actors import Actor
from runnel.conformance.history import History

history, proxy = History(), SimpleNamespace(url="redis://127.0.0.1:1/0")
command = ["sh", "-c", "exec 9>alive; echo {; exec sleep 100"]
actor = Actor("w1", command, Path("."), history, proxy, 1.5, "m1")
while not history.bad_lines:
    actor.look()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.timeout(60)
def test_a_kit_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    kit = subprocess.Popen([sys.executable, "-c", ORPHANED], cwd=tmp_path)
    with (tmp_path / "alive").open() as alive:
        assert kit.wait() == -signal.SIGKILL
        assert alive.read() == "", "it ends when nobody has it open any more"


async def test_a_command_that_does_not_exist(start: Start) -> None:
    with pytest.raises(ConfigError, match="'no-such-program x' cannot be started: No such file"):
        start("no-such-program", "x")


async def test_a_line_without_end_is_not_kept(start: Start) -> None:
    actor = start(sys.executable, "-c", "print('{' * 3_000_000, flush=True)")
    assert await actor.ended(30)
    assert "more than a megabyte" in actor._history.bad_lines[0][1]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("script", ["exec yes", "exec yes >&2", "yes {"])
async def test_a_command_that_never_stops_writing_is_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(actors, "MOST_OUTPUT", 3_000_000)
    actor = start("sh", "-c", script)
    assert await actor.ended(30)
    assert actor.wrote_too_much
    assert actor.exit_code == -signal.SIGKILL
    assert "w1 has written more than 3000000 bytes" in actor._history.text()


async def test_what_a_full_pipe_holds_is_read_by_one_look_after_the_end(start: Start) -> None:
    fill = f"import fcntl; fcntl.fcntl(1, 1031, 1 << 20)\nfor _ in range(10_000): print({LINE!r})"
    actor = start(sys.executable, "-c", fill)
    await asyncio.to_thread(actor._process.wait)  # Without a look.
    actor.look()
    assert len(actor._history.lines) == 10_000
