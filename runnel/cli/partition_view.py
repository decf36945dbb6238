"""Formats what `runnel inspect` shows of one partition of a processor, for people: its state in
words, what to type next, and what is known of it. No I/O."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from runnel.cli import view, waiting
from runnel.cli.event_lines import printable
from runnel.cli.names import Names
from runnel.cli.tables import COLOURS, duration, value_text
from runnel.log import one_line

Json = dict[str, Any]


class Fact(NamedTuple):
    """A line under a name. One that is `whole`, such as a command, is not wrapped."""

    name: str
    text: str
    whole: bool = False


#: Width of the names of the facts, and lines that one of them may take.
_NAMES, _MOST_LINES = 14, 6
#: Lines of a traceback, the last ones, and notes of the history, the newest.
_TRACEBACK_LINES, _NOTES = 12, 8


def lines(seen: Json, url: str, names: Names, width: int) -> list[str]:
    """The lines of a report on one partition, none of them wider than `width`, but for commands:
    these are to be copied."""
    title, state, why = told(seen)
    head = textwrap.wrap(f"{title} is {state}: {why}", width, subsequent_indent="  ")
    found = [_coloured(each, f"is {state}:", state) for each in head]
    for line in to_do(seen, names):
        is_command = line.startswith(" ")
        found += [f"  {line}"] if is_command else _folded(f"  {line}", width, "  ")
    found.append("")
    for fact in facts(seen, names, width - _NAMES):
        found += _wrapped(fact, width)
    server = seen["server"]
    at = time.strftime("%H:%M:%SZ", time.gmtime(seen["at_ms"] / 1000))
    return [*found, "", f"{server['kind']} {value_text(server['version'])} at {url} · {at}"]


def told(seen: Json) -> tuple[str, str, str]:
    """The name of the partition that a report is on, its state, and what that means."""
    processor, row, detail = _looked_at(seen)
    title = f"{processor['app']}/{processor['name']} partition {row['id']}"
    return title, *in_words(processor, row, detail)


def facts(seen: Json, names: Names, width: int) -> list[Fact]:
    """All that is known of the partition that a report is on. Of a record six lines are kept, none
    of them wider than `width`."""
    processor, row, detail = _looked_at(seen)
    return [
        *_facts(processor, row, seen),
        *_failure(row, detail["traceback"], seen["at_ms"]),
        *_event(processor, row, detail["event"], names, width),
        *_set_aside(processor, row, detail, names),
        *_history(detail["history"]),
    ]


def _looked_at(seen: Json) -> tuple[Json, Json, Json]:
    """The processor, the partition in it, and what else was read of that."""
    (processor,), detail = seen["processors"], seen["partition"]
    (row,) = (each for each in processor["partitions"] if each["id"] == detail["id"])
    return processor, row, detail


def in_words(processor: Json, row: Json, detail: Json) -> tuple[str, str]:
    """The state of a partition, and what it means."""
    error, owner = row["error"], row["owner"]
    if row["checkpoint"] is None:
        return (
            "unassigned",
            "it is not registered: no worker has run it yet, or it was removed",
        )
    if row["state"] == "quarantined":
        if error and error["event"] == row["checkpoint"]:
            return "quarantined", "its handler fails before its first event, so it waits"
        return "quarantined", "an event failed after all its retries; it waits, to keep its order"
    if row["state"] == "paused":
        return "paused", "an operator paused it; nothing is processed until it is resumed"
    if processor["state"] == "down":
        return "down", "no worker runs this processor"
    if row["state"] == "unassigned":
        return "unassigned", "no live worker holds it; one claims it within a heartbeat"
    if row["waits_for"]:
        where = row["waits_for"]["stream"]
        return "waiting", f"its commit finds no room in {where}" if where else "Redis refuses it"
    if detail["stalled"]:
        return "stalled", f"{owner} has had one event for {duration(row['current_event_ms'])}"
    if row["failing"]:
        if not error:
            return "failing", "its workers die one after the other at its next event"
        return "failing", "its event has failed and is tried again"
    if row["state"] == "moving":
        return "moving", f"{owner} gives it to another worker"
    if row["lag_events"] == 0:
        but = " but for what is set aside" if row["parked"] or row["postponed"] else ""
        return "owned", f"everything is processed{but}"
    return "owned", f"it is processed; {_count(row['lag_events'], 'event')} behind the checkpoint"


def to_do(seen: Json, names: Names) -> list[str]:
    """What is wrong with the partition that a report is on, with the commands that help, which are
    indented."""
    processor, row, detail = _looked_at(seen)
    stalled, state = detail["stalled"], processor["state"]
    if state in ("stalled", "ok", "degraded"):
        state = "stalled" if stalled else "degraded"
    letters = processor["dead_letters"]
    alone = {
        **processor,
        "partitions": [row],
        "state": state,
        "lag_events": row["lag_events"],
        "dead_letters": letters if waiting.for_letters([row], letters) else None,
        "mixed": False,
    }
    return [line[2:] for line in view.problems(alone, seen, names, alone=True)[2:]]


def _facts(processor: Json, row: Json, seen: Json) -> Iterator[Fact]:
    yield Fact("owner", _owner(row, seen))
    yield Fact("epoch", str(row["epoch"] or "-"))
    checkpoint = row["checkpoint"]
    moved = "" if checkpoint in (None, "0-0") else f" ({_clock(checkpoint)})"
    yield Fact("checkpoint", f"{checkpoint or '-'}{moved}")
    behind = f", {duration(row['lag_ms'])} behind" if row["lag_ms"] else ""
    yield Fact(
        "lag", f"{value_text(row['lag_events'])} events{behind}; the newest is {row['last']}"
    )
    yield Fact("processed", f"{row['processed']}{_lost(row, seen['partition']['history'])}")
    if row["in_hand"] is not None:
        yield Fact("in hand", f"{row['in_hand']}, of these {row['finished_ahead']} finished")
    if row["unclean_tenures"]:
        yield Fact(
            "unclean", f"{_count(row['unclean_tenures'], 'worker')} in a row did not release it"
        )
    if row["outbox"]:
        yield Fact("outbox", f"{row['outbox']} emitted, to be forwarded")


def _lost(row: Json, notes: list[Json]) -> str:
    if not row["lost"]:
        return ""
    times = [each["at_ms"] for each in notes if each["what"] == "lost"]
    at = f", noted at {_moment(times[-1])}" if times else ""
    return f", {row['lost']} LOST{at}"


def _owner(row: Json, seen: Json) -> str:
    if row["owner"] is None:
        return "none"
    for each in seen["members"]:
        if each["id"] == row["owner"]:
            runs = f"{value_text(each['lang'])} {value_text(each['version'])}"
            where = f"{value_text(each['host'])}:{value_text(each['pid'])}"
            beat = duration(each["last_heartbeat_ms"])
            left = duration(row["session_left_ms"])
            return f"{each['id']} at {where}, {runs}; heartbeat {beat} ago, session ends in {left}"
    return str(row["owner"])


def _failure(row: Json, traceback: str, now_ms: int) -> Iterator[Fact]:
    if row["attempts"]:
        yield Fact("attempts", str(row["attempts"]))
    if error := row["error"]:
        ago = "" if error["at_ms"] is None else f", {duration(max(0, now_ms - error['at_ms']))} ago"
        yield Fact("last error", one_line(f"{error['type']}: {error['message']}") + ago)
        lines = traceback.splitlines()
        if len(lines) > _TRACEBACK_LINES:
            yield Fact("", f"… {len(lines) - _TRACEBACK_LINES} lines before: --json has them")
        for line in lines[-_TRACEBACK_LINES:]:
            yield Fact("", printable(line))


def _event(
    processor: Json, row: Json, event: Json | None, names: Names, width: int
) -> Iterator[Fact]:
    if event is None or (row["lag_events"] == 0 and not event["failed"]):
        return
    name = "failed event" if event["failed"] else "next event"
    if event["gone"]:
        yield Fact(name, f"{event['id']} is not in the log any more")
        return
    key = f", key {printable(event['key'])}" if event.get("key") is not None else ""
    yield Fact(name, f"{event['id']}, sent {event['at'] or 'at an unknown time'}{key}")
    for header, value in event["headers"].items():
        yield Fact("", f"{header}={value}")
    if "unreadable" in event:
        yield Fact("", f"it cannot be decoded: {event['unreadable']}")
    for line in _bounded(event.get("record", event.get("fields")), width):
        yield Fact("", line, True)
    for field, value in event.get("raw", ()):
        for line in _cut(f"{field} = {value}", width):
            yield Fact("raw", line, True)
    yield Fact("", names.show(processor, row["id"], event["id"]), True)


def _set_aside(processor: Json, row: Json, detail: Json, names: Names) -> Iterator[Fact]:
    listed = f"runnel dead list {names.target(processor)} --partition {row['id']}"
    if row["parked"]:
        yield Fact(
            "parked", f"{_count(row['parked'], 'event')} of {_count(row['parked_keys'], 'key')}"
        )
    for each in detail["parked"]:
        again = ", replayed now" if each["replaying"] else ""
        count = f"{each['events']} event{'' if each['events'] == 1 else 's'}"
        yield Fact(
            "", f"key {printable(each['key'])}: {count}{again}, the first is {each['event']}"
        )
        yield Fact("", f"  {_failed(each)}")
    if row["postponed"]:
        yield Fact("postponed", str(row["postponed"]))
    for each in detail["postponed"]:
        due = f"in {duration(each['due_in_ms'])}" if each["due_in_ms"] else "now"
        yield Fact("", f"key {printable(each['key'])}: {each['event']}, tried again {due}")
        yield Fact("", f"  {_failed(each)}")
    letters = detail["dead_letters"]
    if letters is None:
        yield Fact("dead letters", "? (this user may not read them: grant XREVRANGE)")
    elif letters:
        yield Fact("dead letters", "the newest of this partition:")
    for each in letters or ():
        yield Fact("", f"{each['at']}: {each['event']}")
        yield Fact("", f"  {_failed(each)}")
    if row["parked"] or row["postponed"] or letters:
        yield Fact("", listed, True)


def _history(notes: list[Json]) -> Iterator[Fact]:
    """Who had the partition, the newest first."""
    for number, each in enumerate(reversed(notes[-_NOTES:])):
        yield Fact("" if number else "history", f"{_moment(each['at_ms'])} {_told(each)}")
    if len(notes) > _NOTES:
        yield Fact("", f"… and {len(notes) - _NOTES} before: --json has them")


def _told(note: Json) -> str:
    member, more = note["member"], printable(note["more"])
    who = printable(member) if member else "an operator"
    match note["what"]:
        case "claimed":
            return f"claimed by {who}, epoch {note['epoch']}"
        case "took_over":
            return f"taken over by {who}: {more} had not released it"
        case "quarantined":
            return f"quarantined by {who}, at {more}"
        case "lost":
            number = "an unknown number of" if more == "0" else more
            return f"{number} events LOST, noted by {who}"
        case "sought":
            return f"moved by {who} to behind {more}"
        case "cleared":
            return f"table {more} cleared by {who}"
        case "replayed":
            return f"parked events replayed by {who}"
        case "dropped":
            return f"parked events dropped by {who}"
    return f"{printable(note['what'])} by {who}"


def _failed(each: Json) -> str:
    if not each["error"]:
        return "it only comes after another event of its key"
    return f"failed {_count(each['attempts'], 'time')}: {one_line(each['error'])}"


def _wrapped(fact: Fact, width: int) -> list[str]:
    """A fact under its name, over several lines if need be."""
    indent = " " * (len(fact.text) - len(fact.text.lstrip()))
    kept = [fact.text] if fact.whole else _folded(fact.text, width - _NAMES, indent)
    heads = [fact.name] + [""] * len(kept)
    return [f"{head:{_NAMES}}{part}".rstrip() for head, part in zip(heads, kept, strict=False)]


def _folded(text: str, width: int, indent: str) -> list[str]:
    """A text over a few lines; what does not fit is left out, which an ellipsis shows."""
    room = max(20, width)
    parts = textwrap.wrap(text, room, subsequent_indent=indent, break_on_hyphens=False)
    kept = parts[:_MOST_LINES] or [""]
    if len(parts) > len(kept):
        kept[-1] = f"{kept[-1][: room - 2]} …"
    return kept


def _bounded(record: Any, width: int) -> list[str]:
    """A record as JSON, cut into a few lines."""
    return _cut(printable(json.dumps(record, ensure_ascii=False)), width)


def _cut(text: str, width: int) -> list[str]:
    found = _split(text, max(20, width)) or [""]
    if len(found) <= _MOST_LINES:
        return found
    return [*found[: _MOST_LINES - 1], f"… {len(text)} characters in all"]


def _split(text: str, width: int) -> list[str]:
    """A text in lines that end at a space or a comma, unless that leaves half of a line empty."""
    found, at = [], 0
    while at < len(text):
        end = at + width
        if end < len(text):
            after = max(text.rfind(each, at, end) for each in " ,") + 1
            end = after if after - at > width // 2 else end
        found.append(text[at:end].rstrip())
        at = end
    return found


def _count(number: int | None, noun: str) -> str:
    return f"{value_text(number)} {noun}{'' if number == 1 else 's'}"


def _coloured(line: str, words: str, state: str) -> str:
    return line.replace(words, f"is {click.style(state, fg=COLOURS.get(state), bold=True)}:", 1)


def _moment(ms: int) -> str:
    return time.strftime("%m-%d %H:%M:%SZ", time.gmtime(ms / 1000))


def _clock(id_: str) -> str:
    """The time in an id, as the headline writes it."""
    return time.strftime("%H:%M:%SZ", time.gmtime(int(id_.partition("-")[0]) / 1000))
