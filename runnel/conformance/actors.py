"""The commands under test as processes, and what they write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from runnel.conformance.contract import Sent, environment, id_text, read_done, read_sent
from runnel.conformance.history import History, Line
from runnel.conformance.proxy import Proxy
from runnel.errors import ConfigError

_LONGEST_LINE = 1_000_000
#: Bytes of one read, and how many are read in one look: more than a pipe holds, so that a look at a
#: process that has ended misses nothing, and one that never stops writing does not keep the kit.
_CHUNK, _CHUNKS = 65_536, 17
#: After so many lines that cannot be read, no further one says more.
_MOST_UNREADABLE = 1000
#: Bytes that a process may write to stdout and stderr: many times what a trial needs.
MOST_OUTPUT = 64 * 2**20
#: Ends a process group when its own input ends, as it does when the kit has died. Otherwise what is
#: left would go on, and speak to whoever listens at the old address next.
_UNTIL_ORPHANED = 'read _ || kill -9 -"$1"'


def _started(
    command: Sequence[str], variables: dict[str, str], log: Path, producer: bool
) -> subprocess.Popen[bytes]:
    """The process of a command, whose stderr goes to the log. A producer has an input."""
    with log.open("ab") as stderr:
        try:
            return subprocess.Popen(
                list(command),
                env={**os.environ, **variables},
                stdin=subprocess.PIPE if producer else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"the command {' '.join(command)!r} cannot be started: {error.strerror}; it "
                "is started without a shell, in the current directory"
            ) from error


class Actor:
    """A process of a command. It has a process group of its own, so that signals reach what the
    command itself starts, too."""

    #: It is expected to end by itself, with an exit code that is not 0, as this rule says.
    to_be_replaced = False
    #: A producer that waits for room in a partition, while no worker lives to make some.
    waits_in_vain = False
    ends_by = "W1"
    #: It ends in the middle of an event, which tells it to.
    dies = False
    #: It was suspended for a while.
    was_stopped = False
    #: It was killed because it had written more than `MOST_OUTPUT`.
    wrote_too_much = False
    #: It is a worker in Python that the kit puts beside those under test.
    is_of_the_kit = False
    #: How many records it was given.
    given = 0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        history: History,
        proxy: Proxy,
        session: float,
        member: str,
        producer: bool = False,
        user: str = "",
    ) -> None:
        self.name = name
        self.member = member
        self.proxy = proxy
        self.producer = producer
        self.log = folder / f"{name}.log"
        self._history = history
        #: When it was told to end: the signal, its place in the history, its time.
        self.told: tuple[signal.Signals, int, float] | None = None
        #: Lines of a producer that answer no record: what is wrong, and which record they name.
        self.surplus: list[tuple[str, str]] = []
        self.exit_code: int | None = None
        self.ended_at: float | None = None
        #: Key and number of the records of which it has not said what became of them, and has.
        self._unsaid: set[tuple[str, int]] = set()
        self._said: set[tuple[str, int]] = set()
        self._rest = b""
        self._written = 0
        self._unreadable = 0
        self._empty_at = time.monotonic()
        url = proxy.url.replace("//", f"//{user}@") if user else proxy.url
        self._process = _started(command, environment(url, session, member), self.log, producer)
        self._leash = subprocess.Popen(
            ["/bin/sh", "-c", _UNTIL_ORPHANED, "sh", str(self.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self._to_write = b""
        history.note(f"{name} is started: process {self.pid}, {url}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Does it run? Notes the exit code when it has ended."""
        if self.exit_code is None:
            self.exit_code = self._process.poll()
            if self.exit_code is not None:
                self.ended_at = time.monotonic()
                self._untie()
                self._history.note(f"{self.name} has ended, with exit code {self.exit_code}")
        return self.exit_code is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and what it has started."""
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.look()
            self.told = (number, next(self._history.places), time.monotonic())
        self.was_stopped |= number == signal.SIGSTOP
        what = "kit" if number == signal.SIGTERM else "fault"
        self._history.note(f"{what}: {number.name} to {self.name}")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def ended(self, seconds: float) -> bool:
        """Has it ended within so many seconds?"""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            self.look()
            await asyncio.sleep(0.01)
        self.look()
        return not self.alive

    def write(self, line: bytes) -> None:
        """Give it a record; what its pipe does not take now is written later, by `look`."""
        record = json.loads(line)
        self.given += 1
        self._unsaid.add((record["key"], record["number"]))
        self._to_write += line
        self._flush()

    @property
    def unsaid(self) -> int:
        """Of how many records it has not said what became of them."""
        return len(self._unsaid)

    def finish(self) -> None:
        """End its input, once it has taken everything."""
        if self._process.stdin is not None and not self._to_write:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def look(self) -> None:
        """Read what it has written until now."""
        self._flush()
        now = time.monotonic()
        is_empty = True
        try:
            for _ in range(_CHUNKS):
                data = os.read(self._output, _CHUNK)
                self._rest += data
                self._written += len(data)
                if len(data) < _CHUNK:
                    break
            else:
                is_empty = False
        except BlockingIOError:
            pass
        except OSError:
            return
        if b"{" not in self._rest:  # To look at each of a million lines would stop the kit.
            self._rest = self._rest[self._rest.rfind(b"\n") + 1 :]
        *lines, self._rest = self._rest.split(b"\n")
        for line in [*lines, self._rest]:
            if len(line) > _LONGEST_LINE:
                self._history.bad_lines.append((self.name, "a line of more than a megabyte"))
            elif line is not self._rest:
                self._take(line, now)
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
        if is_empty:
            self._empty_at = now
        self._stop_at_too_much()

    def _stop_at_too_much(self) -> None:
        """Kill it if it has written so much that it can hardly be meant."""
        if not self.wrote_too_much and self._written + self.log.stat().st_size > MOST_OUTPUT:
            self.wrote_too_much = True
            self._history.note(f"{self.name} has written more than {MOST_OUTPUT} bytes")
            self.signal(signal.SIGKILL)

    def _take(self, line: bytes, now: float) -> None:
        if not line.startswith(b"{") or self._unreadable == _MOST_UNREADABLE:
            return
        try:
            if self.producer:
                self._take_sent(read_sent(line))
                return
            done = read_done(line)
        except ValueError as error:
            self._unreadable += 1
            shown = line[:200].decode(errors="replace")
            self._history.bad_lines.append((self.name, f"{shown}: {error}"))
            self._history.note(f"{self.name}: a line that cannot be read: {shown}")
            return
        place = next(self._history.places)
        lines = self._history.failed if done.failed else self._history.lines
        lines.append(Line(self.name, done, place, self._empty_at, now))

    def _take_sent(self, sent: Sent) -> None:
        which = f"number {sent.number} of {sent.key!r}"
        became = f"gave up {which}: {sent.error}"
        if sent.id is not None:
            became = f"acknowledged {which} as {id_text(sent.id)}"
        self._history.sent.append((self.name, sent))
        self._history.note(f"{self.name}: {became}")
        name = sent.key, sent.number
        if name in self._said:
            self.surplus.append(("a record was acknowledged more than once", which))
        elif name not in self._unsaid:
            self.surplus.append(("a line names a record that the producer was never given", which))
        self._unsaid.discard(name)
        self._said.add(name)

    def _flush(self) -> None:
        pipe = self._process.stdin
        if pipe is None or not self._to_write or pipe.closed:
            return
        try:
            self._to_write = self._to_write[os.write(pipe.fileno(), self._to_write) :]
        except BlockingIOError:
            pass
        except OSError:
            self._to_write = b""  # It has ended: its exit code says so.

    def _untie(self) -> None:
        """Its id may soon be that of another process: nobody kills that."""
        self._leash.kill()
        self._leash.wait()
        if self._leash.stdin is not None:
            self._leash.stdin.close()

    def close(self) -> None:
        """End it, and what it has started, however it is."""
        self._untie()
        for number in (signal.SIGKILL, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        self._process.wait()
        self.look()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
