"""The command ``runnel demo``: processes real events, kills a worker, and checks the result."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from runnel.cli import exits

EVENTS = "flights-2013-01.jsonl.gz"


@click.command(epilog=exits.epilog("runnel demo --examples examples", codes=exits.LOCAL))
@click.option(
    "--examples",
    type=click.Path(path_type=Path),
    default="examples",
    show_default=True,
    help="Folder of flights.py and its events, as in the repository.",
)
def demo(examples: Path) -> None:
    """Process 26,483 real departures while workers join and die; check that nothing was lost.

    Starts its own server in a temporary folder. Exits with 0 only if every departure was processed,
    in order for each aircraft.
    """
    source = examples.resolve() / EVENTS
    if not source.is_file():
        exits.fail(
            f"{source} is missing: the demo needs the folder `examples` of Runnel's repository. "
            "Run it in a clone, or name that folder with --examples PATH",
            exits.USAGE,
        )
    with tempfile.TemporaryDirectory(prefix="runnel-") as folder:
        Demo(source, Path(folder)).run()


class Demo:
    """One run, with its own server and workers. `effects` is the file that the handler writes."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.effects = folder / "effects.jsonl"
        self.effects.touch()
        self.url = f"unix://{folder}/s.sock"
        self.environment = {
            **os.environ,
            "RUNNEL_REDIS_URL": self.url,
            "FLIGHTS_EFFECTS": str(self.effects),
        }
        self.started = time.monotonic()

    def run(self) -> None:
        """Run the demo and its checks. Exits with 1 if a check fails."""
        with self._server(), self._workers() as workers:
            self.say("two workers start")
            workers += [self._worker("w1"), self._worker("w2")]
            self._until_owned({"w1", "w2"})
            self.say(f"sending the departures of {self.source.name}")
            sender = self._start("sendmany", "flights:departures", str(self.source))
            self._until_effects(4000)
            self.say("a third worker joins: partitions move to it")
            workers.append(self._worker("w3"))
            self._until_owned({"w1", "w2", "w3"})
            self._show_owners()
            self._until_effects(9000)
            self.say("w1 is killed with SIGKILL")
            workers[0].kill()
            self._until_owned({"w2", "w3"})
            self.say("the others have taken over")
            self._show_owners()
            if sender.wait() != 0:
                self.fail("sendmany did not send everything")
            while self._inspect()["totals"]["lag_events"] != 0:
                time.sleep(0.2)
            self.say("everything is processed; `runnel inspect` shows:\n")
            subprocess.run(self._command("inspect", "flights:app"), **self._context(), check=False)
        self.check()

    def check(self) -> None:
        """Check that every departure was processed, in order for each aircraft. Count repeats."""
        sent: dict[str, list[tuple[str, int]]] = defaultdict(list)
        with gzip.open(self.source) as lines:
            for line in lines:
                flight = json.loads(line)
                sent[flight["tailnum"]].append(_key(flight))
        done: dict[str, list[tuple[str, int]]] = defaultdict(list)
        times: Counter[tuple[str, tuple[str, int]]] = Counter()
        for line in self.effects.read_bytes().splitlines():
            effect = json.loads(line)
            times[effect["tailnum"], _key(effect)] += 1
            done[effect["tailnum"]].append(_key(effect))
        total = sum(map(len, sent.values()))
        missing = sum(len(set(flights) - set(done[tail])) for tail, flights in sent.items())
        disordered = [
            tail for tail, flights in sent.items() if list(dict.fromkeys(done[tail])) != flights
        ]
        repeated = sum(1 for count in times.values() if count > 1)
        click.echo()
        self.say(f"{total} departures of {len(sent)} aircraft were sent")
        self.say(f"{total - missing} were processed, {missing} are missing")
        self.say(f"{len(disordered)} aircraft had their departures out of order")
        why = ": they were not yet committed when w1 died" if repeated else ""
        self.say(f"{repeated or 'no'} departures were processed twice{why}")
        if missing or disordered or len(times) != total:
            self.fail("a check failed")
        self.say("all checks hold")

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        click.echo(f"{time.monotonic() - self.started:6.1f} s  {text}")

    def fail(self, text: str) -> NoReturn:
        """Exit with 1, and show the end of the log."""
        log = (self.folder / "log").read_text().splitlines()[-10:]
        exits.fail("\n".join([text, *log]), exits.UNEXPECTED)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "runnel", *arguments]

    def _context(self) -> dict[str, Any]:
        return {"cwd": self.source.parent, "env": self.environment}

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self._command(*arguments), **self._context(), stdout=log, stderr=log
            )

    def _worker(self, name: str) -> subprocess.Popen[bytes]:
        return self._start("worker", "flights:app", "--name", name)

    @contextmanager
    def _server(self) -> Iterator[None]:
        from runnel.embedded.local_server import start

        server = start(self.url, self.folder / "data")
        self.say(f"a server runs in {self.folder}")
        try:
            yield
        finally:
            if server.pid is not None:
                os.kill(server.pid, signal.SIGTERM)
                _await_end(server.pid)  # Until then it writes to its folder, which is removed.

    @contextmanager
    def _workers(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        workers: list[subprocess.Popen[bytes]] = []
        try:
            yield workers
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()

    def _inspect(self) -> dict[str, Any]:
        command = self._command("inspect", "flights:app", "--json")
        done = subprocess.run(command, **self._context(), capture_output=True, check=True)
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def _owners(self) -> Counter[str]:
        rows = [row for each in self._inspect()["processors"] for row in each["partitions"]]
        return Counter(row["owner"] or "no member" for row in rows)

    def _until_owned(self, names: set[str], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while set(owners := self._owners()) != names or max(owners.values()) > -(-12 // len(names)):
            if time.monotonic() > deadline:
                self.fail(f"partitions are owned by {dict(owners)}, not shared by {names}")
            time.sleep(0.1)

    def _until_effects(self, count: int, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while self.effects.read_bytes().count(b"\n") < count:
            if time.monotonic() > deadline:
                self.fail("the workers make no progress")
            time.sleep(0.1)

    def _show_owners(self) -> None:
        owners = self._owners()
        self.say("partitions: " + ", ".join(f"{name} {owners[name]}" for name in sorted(owners)))


def _await_end(pid: int, seconds: float = 30) -> None:
    """Wait until a process that is no child of this one is gone, but no longer than that."""
    deadline = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.02)


def _key(flight: dict[str, Any]) -> tuple[str, int]:
    return flight["departed_at"], flight["flight"]
