"""``runnel processor dead-letters``: a look at what was set aside, which registers nothing."""

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
    """The newest dead letters of a processor that keeps them, in the order in which they came."""
    sink = processor.sink
    assert sink is not None
    logs = [keys.log(sink.prefix(p)) for p in range(sink.partition_count)]
    asked = [(log, ("XREVRANGE", log, "+", "-", "COUNT", limit)) for log in logs]
    found: list[tuple[tuple[int, int], Json]] = []
    for reply in await scripts.deployment.send(asked):
        if isinstance(reply, Exception):
            raise reply
        for id_, fields in reply:
            letter = _shown(processor, sink, text(id_), fields)
            if letter.get("processor", processor.name) == processor.name:  # A sink may be shared.
                found.append((parts(text(id_)), letter))
    found.sort(key=lambda each: each[0])
    return [letter for _, letter in found[-limit:]]


def _shown(
    processor: Processor, sink: StreamSpec[DeadLetter], id_: str, fields: list[bytes]
) -> Json:
    try:
        letter = sink.codec.decode(fields)
    except RecordError as error:
        return {"id": id_, "unreadable": str(error)}
    told: Json = {
        "id": id_,
        "partition": letter.partition,
        "event": letter.event,
        "processor": letter.processor,
        "at": letter.at.isoformat(timespec="seconds"),
        "attempts": letter.attempts,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
    }
    spec = processor.stream
    try:
        told["record"] = spec.codec.record_type.dump(spec.codec.decode(letter.fields))
    except RecordError as error:
        told["unreadable"] = str(error)
    return told


def as_json(letter: Json) -> str:
    """One object in one line; bytes as text."""
    return json.dumps(letter, default=lambda value: bytes(value).decode(errors="backslashreplace"))


def as_text(letter: Json) -> str:
    """Two lines: what happened to which event, and its record."""
    if "event" not in letter:
        return f"{letter['id']} is no dead letter: {letter['unreadable']}"
    times = f"{letter['attempts']} time{'' if letter['attempts'] == 1 else 's'}"
    why = one_line(f"{letter['error_type']}: {letter['error_message']}")
    record = as_json(letter["record"]) if "record" in letter else f"({letter['unreadable']})"
    return (
        f"{letter['at']}  partition {letter['partition']}, event {letter['event']} failed {times}: "
        f"{why}\n  {record}"
    )
