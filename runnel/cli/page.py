"""What the page of `runnel inspect --serve` says, in the words of the terminal. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

from runnel.cli import folded, partition_view, stream_problems, view
from runnel.cli.names import Names
from runnel.connection.url_text import redacted
from runnel.operations.stream_states import StreamState, wrong_streams

Json = dict[str, Any]

#: Findings that the page shows, and lines of each one beside its commands.
MOST_FINDINGS, MOST_LINES = 30, 8
#: Characters of a record in one line, of which there are six.
_WIDTH = 400
#: A line that can be typed, and its comment.
_COMMAND = re.compile(r"((?:runnel|kill) .*?)(?: +# (.*))?")


@dataclass(frozen=True)
class Words:
    """Writes for the page, with the URL of Redis and with how commands name an app."""

    url: str
    names: Names

    def of_report(self, seen: Json) -> Json:
        """A report with its headline and with what is wrong."""
        state, *more = click.unstyle(view.headline(seen, redacted(self.url))).split(" · ")
        return {
            "state": state.partition(":")[0].lower(),
            "headline": [state, *more],
            **self._findings(seen),
            "streams": {each.name: _wrong(each) for each in wrong_streams(seen)},
            "report": seen,
        }

    def of_partition(self, seen: Json) -> Json:
        """What is known of the partition that a report is on."""
        title, state, why = partition_view.told(seen)
        return {
            "title": title,
            "state": state,
            "why": why,
            "to_do": _lines(partition_view.to_do(seen, self.names)),
            "facts": [
                {"name": fact.name, "whole": fact.whole, **_line(fact.text)}
                for fact in partition_view.facts(seen, self.names, _WIDTH)
            ],
        }

    def _findings(self, seen: Json) -> Json:
        """What is wrong, the worst first: with processors, with streams, with the clock."""
        lines = []
        for processor in sorted(seen["processors"], key=folded.badness):
            lines += view.problems(processor, seen, self.names)
        lines += stream_problems.problems(seen, self.names)
        blocks: list[list[str]] = []
        for line in lines:
            if not line:
                blocks.append([])
            else:
                blocks[-1].append(click.unstyle(line))
        found = [{"head": head, "lines": _few(_lines(rest))} for head, *rest in blocks]
        return {
            "findings": found[:MOST_FINDINGS],
            "more_findings": max(0, len(found) - MOST_FINDINGS),
        }


def _lines(lines: Iterable[str]) -> list[Json]:
    return [_line(each.strip()) for each in lines]


def _line(text: str) -> Json:
    """A line: a text, or a command with what is said of it."""
    if found := _COMMAND.fullmatch(text):
        return {"command": found[1], "text": found[2] or ""}
    return {"command": None, "text": text}


def _few(lines: list[Json]) -> list[Json]:
    """The commands, and the first ones of all other lines. The others are counted, before the first
    command that follows them."""
    texts = [at for at, line in enumerate(lines) if line["command"] is None]
    left = set(texts[MOST_LINES:-1])  # The last one says where to read on.
    if not left:
        return lines
    kept = [line for at, line in enumerate(lines) if at not in left]
    more = {"command": None, "text": f"… and {len(left)} more lines: runnel inspect --all has them"}
    at = sum(1 for each in range(min(left)) if each not in left)
    return [*kept[:at], more, *kept[at:]]


def _wrong(state: StreamState) -> str:
    """What is wrong with a stream, in the words of its finding."""
    words = ["read by nobody"] * state.unread or ["full"] * bool(state.full)
    return ", ".join([*words, *["ahead of the clock"] * bool(state.ahead_ms)])
