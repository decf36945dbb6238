"""Reads and formats dead letters for ``runnel processor dead-letters``. Registers nothing."""

from __future__ import annotations

import json
from typing import Any

from runnel import keys
from runnel.dead_letter import DeadLetter
from runnel.errors import RecordError
from runnel.log import one_line
from runnel.processor import Processor
from runnel.protocol import text
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

Json = dict[str, Any]


async def newest(scripts: Scripts, processor: Processor, limit: int) -> list[Json]:
    """The newest dead letters of a processor that keeps them, oldest first."""
    sink = processor.sink
    assert sink is not None
    logs = [keys.log(sink.prefix(p)) for p in range(sink.partition_count)]
    commands = [(log, ("XREVRANGE", log, "+", "-", "COUNT", limit)) for log in logs]
    found: list[tuple[tuple[int, int], Json]] = []
    for reply in await scripts.deployment.ask(commands):
        for id_, fields in reply:
            each = _as_dict(processor, sink, text(id_), fields)
            if each.get("processor", processor.name) == processor.name:  # A sink may be shared.
                found.append((parts(text(id_)), each))
    found.sort(key=lambda pair: pair[0])
    return [each for _, each in found[-limit:]]


def _as_dict(
    processor: Processor, sink: StreamSpec[DeadLetter], id_: str, fields: list[bytes]
) -> Json:
    try:
        dead_letter = sink.codec.decode(fields)
    except RecordError as error:
        return {"id": id_, "unreadable": str(error)}
    found: Json = {
        "id": id_,
        "partition": dead_letter.partition,
        "event": dead_letter.event,
        "processor": dead_letter.processor,
        "at": dead_letter.at.isoformat(timespec="seconds"),
        "attempts": dead_letter.attempts,
        "error_type": dead_letter.error_type,
        "error_message": dead_letter.error_message,
    }
    spec = processor.stream
    try:
        found["record"] = spec.codec.record_type.dump(spec.codec.decode(dead_letter.fields))
    except RecordError as error:
        found["unreadable"] = str(error)
    return found


def as_json(dead_letter: Json) -> str:
    """The dead letter as one JSON object in one line; bytes as text."""
    return json.dumps(
        dead_letter, default=lambda value: bytes(value).decode(errors="backslashreplace")
    )


def as_text(dead_letter: Json) -> str:
    """Two lines: the event with its error, and its record."""
    each = dead_letter
    if "event" not in each:
        return f"{each['id']} is not a dead letter: {each['unreadable']}"
    times = f"{each['attempts']} time{'' if each['attempts'] == 1 else 's'}"
    error = one_line(f"{each['error_type']}: {each['error_message']}")
    record = as_json(each["record"]) if "record" in each else f"({each['unreadable']})"
    return (
        f"{each['at']}  partition {each['partition']}, event {each['event']} failed {times}: "
        f"{error}\n  {record}"
    )
