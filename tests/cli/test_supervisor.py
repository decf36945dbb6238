"""Several worker processes under one supervisor."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.cli.worker import Processes
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.cli.conftest import Run
from tests.cli.supervising import APP, Supervised, alive, supervised
from tests.worker.workers import until

__all__ = ["supervised"]


async def members(redis: Redis, url: str) -> list[str]:
    report = await inspect(redis, await check_server(redis, url), "fleet")
    return sorted(each["id"] for each in report["members"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_workers_and_a_signal_ends_all_of_them_well(
    redis: Redis, redis_url: str, supervised: Supervised, number: signal.Signals
) -> None:
    supervised.start("--processes", "3", "--name", "billing")
    begun = await supervised.heard("begun1", 3)
    names = ["billing-1", "billing-2", "billing-3"]
    assert await members(redis, redis_url) == names
    supervised.signal(number)
    assert supervised.ended() == 0
    assert sorted(supervised.said("ended")) == sorted(begun)
    assert not any(map(alive, begun))
    assert await members(redis, redis_url) == []
    for number_, name in enumerate(names, 1):
        assert any(
            line.startswith(f"{number_} | runnel worker ") and line.endswith(f"member {name}")
            for line in supervised.log.splitlines()
        )


async def test_a_second_signal_ends_all_at_once(supervised: Supervised) -> None:
    supervised.let_go(False)
    supervised.start("--processes", "2")
    begun = await supervised.heard("begun1", 2)
    supervised.signal(signal.SIGINT)
    await supervised.heard("ending", 2)
    assert supervised.process is not None
    assert supervised.process.poll() is None
    supervised.signal(signal.SIGTERM)
    assert supervised.ended() == 130
    assert not any(map(alive, begun))
    assert supervised.said("ended") == []


async def test_signals_that_the_workers_get_too_are_no_second_request(
    supervised: Supervised,
) -> None:
    """As with a terminal, or systemd, which signal all processes of a group."""
    supervised.let_go(False)
    process = supervised.start("--processes", "2")
    begun = await supervised.heard("begun1", 2)
    assert all(os.getpgid(pid) != os.getpgid(process.pid) for pid in begun)
    for pid in begun:
        os.kill(pid, signal.SIGTERM)
    await supervised.heard("ending", 2)
    heard = r"\| .* stopping: finishing what is running"
    await until(lambda: len(re.findall(heard, supervised.log)) == 2, "they have said so")
    supervised.signal()
    await until(lambda: "stopping: each process" in supervised.log, "it has heard")
    for pid in begun:
        os.kill(pid, signal.SIGTERM)
    supervised.let_go()
    assert supervised.ended() == 0
    assert sorted(supervised.said("ended")) == sorted(begun)


async def test_one_that_dies_starts_again(supervised: Supervised) -> None:
    supervised.start("--processes", "2")
    begun = await supervised.heard("begun1", 2)
    os.kill(begun[0], signal.SIGKILL)
    again = await supervised.heard("begun1", 3)
    assert again[2] not in begun
    assert f"(pid {begun[0]}) has ended with exit code 137: starting again in 0.5 s" in (
        supervised.log
    )
    supervised.signal()
    assert supervised.ended() == 0
    assert sorted(supervised.said("ended")) == sorted(again[1:])


async def test_workers_end_well_when_their_supervisor_is_killed(
    redis: Redis, redis_url: str, supervised: Supervised
) -> None:
    supervised.start("--processes", "2")
    begun = await supervised.heard("begun1", 2)
    supervised.signal(signal.SIGKILL)
    supervised.ended()
    await until(lambda: not any(map(alive, begun)), "they have ended")
    assert sorted(supervised.said("ended")) == sorted(begun)
    assert await members(redis, redis_url) == []


@pytest.mark.parametrize("fault", ["raise OSError('no database')", "os._exit(5)"])
async def test_it_ends_if_none_can_start(supervised: Supervised, fault: str) -> None:
    supervised.write(APP.replace("    ...", f"    {fault}"))
    supervised.start("--processes", "3")
    assert supervised.ended() == (5 if "5" in fault else 1)
    code = supervised.process and supervised.process.returncode
    assert f"no process could start: ending with exit code {code}" in supervised.log
    assert "starting again in" not in supervised.log


async def test_one_that_cannot_start_is_tried_again_while_another_works(
    supervised: Supervised,
) -> None:
    fails_once = (
        "try:\n"
        "        open('failed', 'x')\n"
        "    except FileExistsError:\n"
        "        return\n"
        "    raise OSError('no database')"
    )
    supervised.write(APP.replace("    ...", f"    {fails_once}"))
    supervised.start("--processes", "3")
    await supervised.heard("begun1", 3)
    assert "has ended with exit code 1: starting again" in supervised.log
    supervised.signal()
    assert supervised.ended() == 0


async def test_a_burst_ends_with_the_worst_code_and_starts_nothing_again(
    supervised: Supervised, spawn: Run
) -> None:
    spawn("send", "fleet_app:items", '{"number": 1}', cwd=supervised.folder)
    waits = 'say("before")\n    while not Path("go").exists(): await asyncio.sleep(0.02)'
    supervised.write(APP.replace("    ...", f"    {waits}"))
    supervised.let_go(False)
    supervised.start("--processes", "2", "--burst")
    killed, other = await supervised.heard("before", 2)
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not alive(killed), "it was noticed")
    supervised.let_go()
    assert supervised.ended() == 137
    assert supervised.said("ended") == [other]
    assert supervised.out == "1\n"


async def test_the_log_is_json_and_names_the_process(supervised: Supervised) -> None:
    supervised.start("--processes", "2", "--log-format", "json")
    begun = await supervised.heard("begun1", 2)
    os.kill(begun[0], signal.SIGKILL)
    await supervised.heard("begun1", 3)
    supervised.signal()
    assert supervised.ended() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in supervised.log.splitlines()]
    assert {line.get("process") for line in lines} == {1, 2, None}
    assert {line["process"] for line in lines if "member" in line} == {1, 2}


async def test_as_process_1_it_waits_for_the_orphans_of_its_workers(
    supervised: Supervised,
) -> None:
    orphan = (
        "import subprocess\n"
        "    code = \"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', "
        "'input()'], stdin=subprocess.PIPE, start_new_session=True).pid, flush=True)\"\n"
        "    Path('orphan').write_bytes(subprocess.check_output([sys.executable, '-c', code]))"
    )
    supervised.write(APP.replace("    ...", f"    {orphan}"))
    # Like process 1, it becomes the parent of processes that have lost theirs.
    reaper = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    supervised.start("--processes", "1", before=[sys.executable, "-c", reaper])
    await supervised.heard("begun1", 1)
    pid = int((supervised.folder / "orphan").read_text())
    await until(lambda: not alive(pid), "no zombie is left")
    supervised.signal()
    assert supervised.ended() == 0


OTHER_THREAD = """
import signal, sys, threading, time
from runnel.cli.supervisor import Supervisor

both = {signal.SIGTERM, signal.SIGCHLD}
threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, both)
child = "import signal; signal.pthread_sigmask(signal.SIG_SETMASK, []); print(1, flush=True); "
command = [sys.executable, "-c", child + "signal.pause()"]
code = Supervisor(2, lambda number: command).run()
sys.exit(code)
"""


def test_it_hears_signals_that_the_system_gives_to_another_thread() -> None:
    process = subprocess.Popen([sys.executable, "-c", OTHER_THREAD], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"1\n", b"1\n"]
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("given", ["0", "1001", "many"])
def test_a_wrong_number_is_refused(run: Run, given: str) -> None:
    done = run("worker", "tests.cli.shop:app", "--processes", given)
    assert done.code == 2
    assert "Invalid value for '--processes'" in done.stderr


def test_auto_is_a_process_for_each_core() -> None:
    assert Processes().convert("auto", None, None) == len(os.sched_getaffinity(0))


def test_the_command_imports_nothing_slow() -> None:
    code = (
        "import sys, runnel.cli.worker; "
        "sys.exit(str({'redis', 'pydantic', 'asyncio'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
