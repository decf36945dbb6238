"""`runnel inspect --serve`: a page, the report as JSON, and metrics, over HTTP. It only reads."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from importlib.resources import files
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel.cli import exits
from runnel.cli.http_server import Reply, Route, as_json, serve, unexpected
from runnel.cli.page import Words
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError, RunnelError
from runnel.metrics import MISSING, hint
from runnel.protocol.scripts import Scripts

Json = dict[str, Any]
T = TypeVar("T")

#: Seconds for which a report is fresh, so that many readers cost Redis no more than one.
FRESH = 1.0
#: Seconds that a reader waits for a report, and that making one may take.
PATIENCE = 10.0
_LATE = f"Redis has not answered within {PATIENCE:.0f} s"
#: The page runs nothing but its own script, and talks to nobody but this server.
_POLICY = (
    "default-src 'none'; script-src 'sha256-{}'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Source(Protocol):
    """What makes reports."""

    @property
    def client(self) -> Redis:
        """What reads what was set aside."""
        ...

    async def inspect(self) -> Json:
        """A report. Raises RunnelError, redis-py's errors or OSError."""
        ...

    async def look_at(self, seen: Json, number: int) -> Json:
        """What is to be seen of a partition of the only processor in a report. Raises ConfigError
        if there is no such partition, redis-py's errors or OSError."""
        ...


class Reports:
    """Reports for many readers: one at a time, and a new one only when the last is not fresh.

    `explain` turns an error into a sentence.
    """

    def __init__(
        self, source: Source, explain: Callable[[RunnelError | RedisError | OSError], str]
    ) -> None:
        self._source = source
        self._explain = explain
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._made_at = float("-inf")
        #: The last report, or None if it could not be made, and then why not.
        self.report: Json | None = None
        self.error: str | None = None
        self.seconds = 0.0
        #: When the last one that succeeded was made, in seconds since 1970.
        self.succeeded_at: float | None = None

    def refresh(self) -> None:
        """Bring `report` up to date. Another thread must call this. Raises TimeoutError."""
        self._result_of(self._refresh())

    def set_aside(self, wanted: Mapping[str, str]) -> list[Json]:
        """What a processor has set aside. Another thread must call this. Raises TimeoutError,
        RunnelError, redis-py's errors or OSError."""
        from runnel.operations.set_aside import newest

        app, stream, name = (wanted.get(each, "") for each in ("app", "stream", "processor"))
        scripts = Scripts(self._source.client)
        return self._result_of(newest(scripts, app, stream, name, wanted.get("sink")))

    def partition(self, wanted: Mapping[str, str]) -> Json:
        """The last report, on one partition. Another thread must call this. Raises ConfigError if
        there is none, TimeoutError, redis-py's errors or OSError."""
        seen = _on_processor(self.report or {"processors": []}, wanted)
        number = wanted.get("partition", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 6):
            raise ConfigError(f"partition must be a number, not {number[:100]!r}")
        looked = self._result_of(self._source.look_at(seen, int(number)))
        return {**seen, "partition": looked}

    def explained(self, error: RunnelError | RedisError | OSError) -> str:
        """An error in a sentence."""
        return self._explain(error)

    def _result_of(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _refresh(self) -> None:
        async with self._lock:
            began = time.monotonic()
            if began - self._made_at < FRESH:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    self.report, self.error = await self._source.inspect(), None
                self.succeeded_at = time.time()
            except TimeoutError:  # What is made of late replies is old before anybody reads it.
                self.report, self.error = None, _LATE
            except (RunnelError, RedisError, OSError) as error:
                self.report, self.error = None, self._explain(error)
            except Exception as error:  # Whatever it is, readers must not take it for silence.
                self.report, self.error = None, unexpected(error)
            self._made_at = time.monotonic()
            self.seconds = self._made_at - began


def _on_processor(seen: Json, wanted: Mapping[str, str]) -> Json:
    """A report, on one of its processors, its stream and its dead letters. Raises ConfigError if it
    has no such one."""
    names = tuple(wanted.get(each, "") for each in ("app", "stream", "processor"))
    found = [
        each for each in seen["processors"] if (each["app"], each["stream"], each["name"]) == names
    ]
    if not found:
        raise ConfigError("there is no processor {}/{}@{}".format(*(each[:100] for each in names)))
    letters = found[0]["dead_letters"]
    read = {names[1], letters["stream"] if letters else names[1]}
    streams = [each for each in seen["streams"] if each["app"] == names[0] and each["name"] in read]
    return {**seen, "processors": found, "streams": streams}


def routes(reports: Reports, words: Words) -> dict[str, Route]:
    """Path -> what replies. `words` are those of the page."""
    page = files("runnel.cli").joinpath("page.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    policy = _POLICY.format(base64.b64encode(hashlib.sha256(script).digest()).decode())

    def show_page(query: Mapping[str, str]) -> Reply:
        headers = (("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer"))
        return Reply(200, "text/html; charset=utf-8", page, headers)

    def report(query: Mapping[str, str]) -> Reply:
        return _fresh(reports, lambda found: found)

    def drawn(query: Mapping[str, str]) -> Reply:
        return _fresh(reports, words.of_report)

    def partition(query: Mapping[str, str]) -> Reply:
        if problem := _refreshed(reports):
            return as_json(503, {"error": problem})
        return _answer(reports, lambda: words.of_partition(reports.partition(query)))

    def set_aside(query: Mapping[str, str]) -> Reply:
        return _answer(reports, lambda: {"events": reports.set_aside(query)})

    def metrics(query: Mapping[str, str]) -> Reply:
        try:
            from runnel.metrics import exporter
        except ImportError:
            return Reply(501, "text/plain; charset=utf-8", MISSING.encode() + b"\n")
        problem = _refreshed(reports)
        found = None if problem else reports.report
        scrape = exporter.Scrape(found, reports.seconds, reports.succeeded_at)
        return Reply(200, exporter.CONTENT_TYPE, exporter.exposition(scrape))

    def healthz(query: Mapping[str, str]) -> Reply:
        return as_json(200, {"alive": True, "error": reports.error})

    return {
        "/": show_page,
        "/inspect.json": report,
        "/page.json": drawn,
        "/partition.json": partition,
        "/set-aside.json": set_aside,
        "/metrics": metrics,
        "/healthz": healthz,
    }


def _answer(reports: Reports, make: Callable[[], Json]) -> Reply:
    """A reply with what is made, or with why it could not be made."""
    try:
        return as_json(200, make())
    except TimeoutError:
        return as_json(503, {"error": _LATE})
    except ConfigError as error:
        return as_json(404, {"error": reports.explained(error)})
    except (RunnelError, RedisError, OSError) as error:
        return as_json(503, {"error": reports.explained(error)})


def _fresh(reports: Reports, shown: Callable[[Json], Json]) -> Reply:
    """A reply with what is shown of a fresh report, or with why there is none."""
    problem, found = _refreshed(reports), reports.report
    if problem or found is None:
        return as_json(503, {"error": problem or reports.error})
    return as_json(200, shown(found))


def _refreshed(reports: Reports) -> str | None:
    """Why there is no fresh report, or None."""
    try:
        reports.refresh()
    except TimeoutError:
        return _LATE
    return reports.error


async def serve_until_stopped(reports: Reports, words: Words, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    found = serve("--serve", host, port, routes(reports, words))
    where = f"http://{f'[{host}]' if ':' in host else host}:{found}"
    exits.say(
        f"{redacted(words.url)}: {where}/ · {where}/inspect.json · {where}/metrics{hint()}",
        port=found,
    )
    await stop.wait()
