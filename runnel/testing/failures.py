"""What has failed in a test: each attempt, with what the handler has raised."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from runnel import keys
from runnel.delivery.error_text import describe_error
from runnel.harness import Failure
from runnel.protocol import text
from runnel.protocol.scripts import Call
from runnel.stream import StreamSpec
from runnel.testing.store import Store

#: Exceptions of one partition that are kept until they are reported.
RECENT = 256


class Failures:
    """`all` are those of the test in order, `last` has the last one of each partition of each
    processor.

    The worker reports each failure in words, by a call. What was raised is noted on its way.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.all: list[Failure] = []
        self.last: dict[tuple[str, int], Failure] = {}
        #: What the handler of a partition has raised of late.
        self._raised: defaultdict[tuple[str, int], deque[BaseException]] = defaultdict(
            lambda: deque(maxlen=RECENT)
        )
        self._reported: set[Failure] = set()

    def note(self, processor: str, partition: int, error: BaseException) -> None:
        """A handler has raised."""
        self._raised[processor, partition].appendleft(error)

    def take_in(self, call: Call, spec: StreamSpec[Any]) -> None:
        """The worker has made a call of `attempt`, about a processor of this stream."""
        _, _, kind, event, attempts, error_type, message = map(text, call.args[:7])
        if kind not in ("failure", "quarantine"):
            return
        state = call.keys[0]
        name, partition = state.rpartition(":")[2], keys.scope(state)[2]
        said = error_type, message  # None has said it of a fault that the worker has found.
        error = next((e for e in self._raised[name, partition] if _report(e) == said), None)
        words = f"{error_type}: {message}"
        if event == self._store.group(state).checkpoint:
            # It failed without an event, and that is where it stands.
            made = Failure(name, partition, "", None, int(attempts), error, words)
        else:
            record = self._record(spec, partition, event)
            made = Failure(name, partition, event, record, int(attempts), error, words)
        if kind == "failure":
            self.all.append(made)
        self.last[name, partition] = made

    def new(self, failures: Iterable[Failure]) -> list[Failure]:
        """Those that were not asked for before."""
        found = [each for each in failures if each not in self._reported]
        self._reported.update(found)
        return found

    def _record(self, spec: StreamSpec[Any], partition: int, event: str) -> Any:
        for each in reversed(self._store.logs[keys.log(spec.prefix(partition))].entries):
            if each.id == event:
                try:
                    return spec.codec.decode(each.fields)
                except Exception:  # That is its failure.
                    return None
        return None


def _report(error: BaseException) -> tuple[str, str]:
    """How the worker reports an exception."""
    kind, message = describe_error(error)
    return kind[:200], message[:1000]


def quarantined(failures: Sequence[Failure]) -> str:
    """What these failures have led to, for people."""
    first = failures[0]
    more = f", and {len(failures) - 1} more," if failures[1:] else ""
    if first.event:
        what = f"event {first.event} failed {first.attempt} times: {first.message}"
        what += f"\nits record: {first.record!r}"
    else:
        what = f"its handler fails without an event: {first.message}"
    return (
        f"processor {first.processor}, partition {first.partition}{more} is quarantined: {what}\n"
        "a test that expects this drains with check=False"
    )
