"""One handler process, from its start to its end: lines go to its stdin, results come from its
stdout, and what it writes to stderr is logged."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from runnel.errors import HandlerDied
from runnel.log import logger_of
from runnel.sidecar.wire import VERSION, Json, answered, shown

logger = logger_of("runnel.handler")

#: Bytes that one result may have: it may write 4 MB to tables and emit as much.
LONGEST_RESULT = 16 * 2**20
#: Bytes of a line of its log. A longer one is logged in pieces.
_LONGEST_LOG = 8192
#: Seconds for which its last results are waited for after it has ended: a process that it has
#: started may still have its stdout.
_LAST_RESULTS = 0.5
#: Seconds that it has to end after its stdin was closed, and then after SIGTERM.
END_AFTER_EOF, END_AFTER_SIGTERM = 5.0, 2.0

_LOST = (
    "wrote results, but none for its oldest request ({number}) for {timeout:g} s: it has lost that "
    "request, or waits for something"
)
_SILENT = (
    "wrote no result for {timeout:g} s{partial}: it waits for something, or does not flush its "
    "stdout, as by print(…, flush=True) in Python, $stdout.sync = true in Ruby, fflush(STDOUT) in "
    "PHP, flush(stdout()) in R"
)


def _death(text: str, alone: bool, given: bool = True) -> HandlerDied:
    error = HandlerDied(text)
    error.alone, error.given = alone, given
    return error


class HandlerProcess:
    """A process that runs. Made by `start`. Once it has died, it is of no further use."""

    def __init__(self, process: asyncio.subprocess.Process, number: int, timeout: float) -> None:
        self._process = process
        self._number = number
        self._timeout = timeout
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._buffer = bytearray()
        self._silence: asyncio.TimerHandle | None = None
        #: It has written results since the time of its oldest request began.
        self._wrote = False
        #: Why it is of no further use, for people; empty as long as it runs.
        self.died = ""
        #: How many results it has written.
        self.results = 0
        self._ended = asyncio.Event()
        #: It is about to end: it gets nothing more.
        self._ending = False
        self._closing = False
        self._log_task = asyncio.create_task(self._log())
        self._task = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, command: Sequence[str], number: int, timeout: float) -> HandlerProcess:
        """Start it, in a session of its own, so that Ctrl-C of the terminal does not reach it.
        Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"SIDECAR": str(VERSION)},
        )
        return cls(process, number, timeout)

    async def ended_within(self, seconds: float) -> bool:
        """Does it end within so many seconds?"""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self._ended.is_set()

    async def ask(self, number: int, line: bytes) -> Json:
        """Send a request. Returns the result. Raises HandlerDied.

        If the caller is cancelled, the request counts as in hand until its result comes."""
        stdin = self._process.stdin
        assert stdin is not None
        if self.died or self._ending or stdin.is_closing():
            await self._ended.wait()
            raise _death(self.died, alone=False, given=False)
        if not self._waiting:
            self._expect()
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        # It is not waited for room in the pipe: what waits there is in memory in any case.
        try:
            stdin.write(line)
        except RuntimeError:  # uvloop, if the pipe was closed a moment ago. The future fails soon.
            self._ending = True
        return await future

    async def close(self) -> None:
        """End it: close its stdin, and if it does not end, send SIGTERM and then SIGKILL to it and
        to what it has started."""
        self._closing = True
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.close()
        try:
            if not await self.ended_within(END_AFTER_EOF):
                logger.warning(
                    "handler %d does not end although its stdin is closed: it gets SIGTERM",
                    self._number,
                )
                self._signal(signal.SIGTERM)
                if not await self.ended_within(END_AFTER_SIGTERM):
                    logger.warning("handler %d ignores SIGTERM: it gets SIGKILL", self._number)
        finally:
            self._signal(signal.SIGKILL)
        await asyncio.wait((self._task, self._log_task), timeout=_LAST_RESULTS)

    def _signal(self, number: signal.Signals) -> None:
        """Signal it and what it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _watch(self) -> None:
        """Read results until it ends, or must be ended."""
        reading = asyncio.create_task(self._read())
        ending = asyncio.create_task(self._process.wait())
        stdin = asyncio.create_task(self._stdin_closed())
        try:
            await asyncio.wait((reading, ending, stdin), return_when=asyncio.FIRST_COMPLETED)
            self._ending = True
            # A process that ends closes its pipes a moment before, and may have written results.
            if not (reading.done() and reading.result()):
                await asyncio.wait((reading, ending), timeout=_LAST_RESULTS)
            why = reading.result() if reading.done() else ""
            if not why and ending.done():
                why = _end_of(ending.result())
            self._die(why or f"closed its {'stdout' if reading.done() else 'stdin'}")
        finally:
            # Whatever was raised above: nobody may take it for one that still runs.
            self._die("has ended, and what watched it has failed")
            self._signal(signal.SIGKILL)
            for task in (reading, stdin):
                task.cancel()
            await ending
            self._ended.set()

    async def _stdin_closed(self) -> None:
        # If it is cancelled itself, so is what asyncio sets when the pipe is closed.
        await asyncio.shield(self._pipe_closed())
        if self._closing:  # It was closed here.
            await self._ended.wait()

    async def _pipe_closed(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            await self._process.stdin.wait_closed()

    async def _read(self) -> str:
        """Read results. Returns why it stopped; empty if its stdout is closed."""
        assert self._process.stdout is not None
        try:
            while chunk := await self._process.stdout.read(65_536):
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    self._take(bytes(self._buffer) + line)
                    self._buffer.clear()
                self._buffer += rest
                if len(self._buffer) > LONGEST_RESULT:
                    return f"wrote a line of more than {LONGEST_RESULT} bytes"
        except ValueError as error:
            return str(error).removeprefix("it ")
        return ""

    def _take(self, line: bytes) -> None:
        """Take in one line. Raises ValueError."""
        number, found = answered(line)
        oldest = next(iter(self._waiting), None)
        future = self._waiting.pop(number, None)
        if future is None:
            raise ValueError(
                f"it wrote a result for a request that it does not have: {shown(line)}"
            )
        self.results += 1
        self._wrote = True
        if number == oldest:
            self._expect()
        if not future.done():
            future.set_result(found)

    def _expect(self) -> None:
        """Count the time until the result of its oldest request from now on, if it has one. Results
        of others do not count: they come as long as there are events, and one may be lost."""
        if self._silence is not None:
            self._silence.cancel()
        self._wrote = False
        loop = asyncio.get_running_loop()
        # `ask` calls this before the request is in hand.
        self._silence = loop.call_later(self._timeout, self._silent)

    def _silent(self) -> None:
        if self._waiting:
            partial = f", only {shown(bytes(self._buffer))} without a line end" * bool(self._buffer)
            text = _LOST if self._wrote else _SILENT
            number = next(iter(self._waiting))
            self._die(text.format(timeout=self._timeout, partial=partial, number=number))
            self._signal(signal.SIGKILL)

    def _die(self, why: str) -> None:
        """It is of no further use."""
        if self._silence is not None:
            self._silence.cancel()
        if self.died:
            return
        self.died = f"the handler process {why}"
        if not self._closing:
            logger.error("handler %d (process %d) %s", self._number, self._process.pid, why)
        waiting, self._waiting = self._waiting, {}
        alone = len(waiting) == 1
        for future in waiting.values():
            if not future.done():
                future.set_exception(_death(self.died, alone))

    async def _log(self) -> None:
        """Log what it writes to stderr."""
        assert self._process.stderr is not None
        rest = b""
        while chunk := await self._process.stderr.read(_LONGEST_LOG):
            *lines, rest = (rest + chunk).split(b"\n")
            while len(rest) > _LONGEST_LOG:
                lines.append(rest[:_LONGEST_LOG])
                rest = rest[_LONGEST_LOG:]
            for line in lines:
                self._log_line(line)
        if rest:
            self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        logger.info("handler %d: %s", self._number, line.decode(errors="backslashreplace"))


def _end_of(code: int) -> str:
    """How it has ended, for people."""
    if code < 0:
        return f"was killed by {_name_of(-code)}"
    more = ": a handler must read lines until its stdin ends" if code == 0 else ""
    return f"ended with exit code {code}{more}"


def _name_of(number: int) -> str:
    """The name of a signal. Most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
