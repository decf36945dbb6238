"""Walk-throughs in the documents do what they say, run as printed by a shell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("lua/**/*.md")]
CONSOLE = re.compile(r"^```(?:console|bash)\n(.*?)^```", re.M | re.S)

#: The first line of each block -> where it runs; or why no test runs it.
BLOCKS = {
    "$ runnel worker example:app": "here",
    "$ runnel send example:orders": "here",
    "$ runnel worker example:app --processes 4": "here",
    "$ runnel dead list example:billing": "here",
    "$ runnel inspect example:app --max-lag 1000 --max-dead 0 "
    "--fail-on failing,quarantined,stalled --min-members 1": "here",
    "$ runnel inspect --redis-url redis://HOST": "here",
    "$ runnel tail example:orders": "cli/test_tail.py",
    "$ runnel conformance run": "kit/test_contract.py",
    "$ runnel lua acl": "cli/test_lua.py",
    "$ runnel stream create --app shop": "cli/test_sidecar_worker.py",
    "$ runnel inspect --app shop": "cli/test_sidecar_worker.py",
    "$ redis-server --port 7777": "conformance/test_cases.py",
    "call() {": "lua/test_transcript.py",
    "$ lua/conformance/routing.sh": "conformance/test_vectors.py",
    "$ flask --app shop_flask run": "integration/test_sending_page.py",
    "$ python shop_django.py runserver": "integration/test_sending_page.py",
    "$ uvicorn shop_fastapi:web": "integration/test_sending_page.py",
    "$ celery -A shop_celery worker": "integration/test_sending_page.py",
    "$ python import_orders.py orders.jsonl": "integration/test_sending_page.py",
    "$ mkdir flights": "cli/test_tutorial.py",
    "$ runnel server\n": "cli/test_server.py",
    "$ runnel worker flights:app": "cli/test_tutorial.py",
    "$ runnel inspect flights:app": "cli/test_tutorial.py",
    "$ runnel sendmany flights:departures": "cli/test_tutorial.py",
    "$ runnel send flights:departures": "cli/test_tutorial.py",
    "$ runnel processor resume flights:route": "cli/test_tutorial.py",
    "$ python check.py": "cli/test_tutorial.py",
    "$ pytest -q": "cli/test_tutorial.py",
    "$ runnel worker shop:app": "cli/test_tutorial.py",
    "$ runnel send shop:orders": "cli/test_tutorial.py",
    "$ pip install": "it installs packages",
    "$ scripts/": "it is how tests and benchmarks are run",
}

PARKING = """
from runnel import App, Record

app = App("myapp", retries=0)


class Order(Record):
    customer: str


orders = app.stream("orders", record=Order, partition_by="customer")


@app.on(orders, exception_policy="park")
async def billing(order):
    raise ValueError("the shop is closed")
"""


def block(page: str, first: str) -> list[str]:
    """The commands of the block of a page that begins with this command. One that goes on in the
    next line is told as the page has it."""
    (found,) = (
        each for each in CONSOLE.findall((ROOT / page).read_text()) if each.startswith(first)
    )
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", found, re.M)


def test_a_test_runs_each_block() -> None:
    """Or there is a reason why not."""
    found = {block: page for page in PAGES for block in CONSOLE.findall(page.read_text())}
    for each, page in found.items():
        known = [first for first in BLOCKS if each.startswith(first)]
        assert known, f"no test runs this block of {page.name}: {each}"
        where = BLOCKS[max(known, key=len)]
        assert not where.endswith(".py") or (ROOT / "tests" / where).exists()


class Shell:
    """Runs commands in a folder with an example.py, in which `runnel` is the command."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        (folder / "bin").mkdir()
        (folder / "bin/runnel").write_text(f'#!/bin/sh\nexec {sys.executable} -m runnel "$@"\n')
        (folder / "bin/runnel").chmod(0o755)
        self._environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RUNNEL_REDIS_URL": url,
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def run(self, command: str) -> str:
        """Run a command, which must succeed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        return done.stdout

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on."""
        with (self._folder / "output").open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        self.running.append(process)
        return process

    def output(self) -> str:
        """What the commands that go on have printed."""
        return (self._folder / "output").read_text()


@pytest.fixture
def shell(tmp_path: Path, redis_url: str, admin: Redis) -> Iterator[Shell]:
    """A shell in an empty folder; what it starts is killed at the end. The server is empty: pages
    have apps of the same name."""
    admin.flushall()
    made = Shell(tmp_path, redis_url)
    shutil.copy(ROOT / "examples/example.py", tmp_path)
    yield made
    for each in made.running:
        each.kill()
        each.wait()


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until it holds."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def members(admin: Redis) -> int:
    """How many workers `myapp` has now."""
    return int(admin.zcard("runnel:{myapp:orders@printer}:sessions"))


def test_the_readme(shell: Shell, admin: Redis) -> None:
    """And the page about operations, in the state in which that leaves Redis."""
    (worker,) = block("README.md", "$ runnel worker example:app")
    send, inspect = block("README.md", "$ runnel send example:orders")
    shell.start(worker)
    wait_for(lambda: members(admin) == 1, "the worker has joined")
    sent = shell.run(send)
    assert re.fullmatch(r"4 \d{13}-0\n", sent)
    wait_for(lambda: re.search(r"^99$", shell.output(), re.M), "the worker prints 99")
    state = "runnel:{myapp:orders:4}:orders:processor:printer"
    wait_for(lambda: admin.hget(state, "processed") == b"1", "it is committed")
    assert re.search(r"printer.*\b0\b", shell.run(inspect))
    (check,) = block("docs/operations.md", "$ runnel inspect example:app --max-lag")
    shell.run(check)
    for command in block("docs/operations.md", "$ runnel inspect --redis-url redis://HOST"):
        here = command.partition("#")[0].replace("redis://HOST", '"$RUNNEL_REDIS_URL"')
        here = here.replace("--app shop", "--app myapp").replace(" shop/", " myapp/")
        here = here.replace("4 1795487034634-0", sent.strip())
        assert re.search(r"orders|amount", shell.run(here)), here


def test_dead_events_of_the_guide(shell: Shell, admin: Redis, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(PARKING)
    sent = shell.run("""runnel send example:orders '{"customer": "customer-7"}'""")
    state = f"runnel:{{myapp:orders:{sent.split()[0]}}}:orders:processor:billing"
    worker = shell.start("runnel worker example:app")
    listed, shown, dry, replayed = block("docs/guide.md", "$ runnel dead list example:billing")
    wait_for(lambda: admin.hget(state, "parked") == b"1", "its event is parked")
    assert "customer-7" in shell.run(listed)
    assert "the shop is closed" in shell.run(shown)
    assert "--execute" in shell.run(dry)
    (tmp_path / "example.py").write_text(PARKING.replace("raise ValueError", "print"))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    shell.run(replayed)
    shell.start("runnel worker example:app")
    wait_for(lambda: admin.hget(state, "parked") == b"0", "its event is processed")
    assert "customer-7" not in shell.run(listed)


def test_several_processes_and_reload_of_the_guide(
    shell: Shell, admin: Redis, tmp_path: Path
) -> None:
    for name in ("shop", "lib"):
        (tmp_path / name).mkdir()
    commands = block("docs/guide.md", "$ runnel worker example:app --processes 4")
    for command, count in zip(commands, (4, 1, 2), strict=True):
        process = shell.start(command.partition("#")[0])
        wait_for(lambda count=count: members(admin) == count, f"{count} workers have joined")  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, shell.output()
        wait_for(lambda: members(admin) == 0, "all have left")
