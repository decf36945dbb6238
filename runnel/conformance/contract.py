"""What the kit and the commands under test have agreed on: names, environment, lines.

`docs/conformance.md` is the same for people.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runnel import keys, record
from runnel.protocol.common import PartitionKeys, StreamContract

APP = "conformance"
STREAM = "trials"
PROCESSOR = "kit"
PARTITIONS = 4
SIZE = 300
#: The field of a record that is its partition key.
KEY = "key"
CONTRACT = StreamContract(PARTITIONS, "xxh64")
GROUP = keys.group(APP, STREAM, PROCESSOR)
PARTS = [
    PartitionKeys(keys.partition(APP, STREAM, partition, STREAM), PROCESSOR)
    for partition in range(PARTITIONS)
]
#: Log -> partition, and state of the processor -> partition, as bytes: as they are on the wire.
LOGS = {each.log.encode(): partition for partition, each in enumerate(PARTS)}
STATES = {each.state.encode(): partition for partition, each in enumerate(PARTS)}

MEMBER = "RUNNEL_CONFORMANCE_MEMBER"


class Item(record.Record):
    """What the kit sends. The handler takes `work` milliseconds."""

    key: str
    number: int
    work: int
    text: str
    fail: int = 0
    die: bool = False
    block: int = 0


#: Fields that only some records have: how often a handler fails, whether it kills its process, and
#: for how many milliseconds it keeps its thread.
ORDERS = ("fail", "die", "block")
#: How often a failed event is tried again, and the pause before the first retry, in seconds.
RETRIES, BACKOFF = 3, 0.5

#: An item as plain values.
Record = dict[str, Any]
#: The two parts of an id, which compare as ids do.
Id = tuple[int, int]


def environment(url: str, session: float, member: str) -> dict[str, str]:
    """What a command finds in its environment, besides what the kit itself has there."""
    return {"RUNNEL_REDIS_URL": url, "RUNNEL_SESSION_TIMEOUT": f"{session:g}", MEMBER: member}


def parse_id(text: str) -> Id:
    """Raises ValueError if the text is no id."""
    ms, _, sequence = text.partition("-")
    return int(ms), int(sequence or 0)


def id_text(id_: Id) -> str:
    """The id as Redis writes it."""
    return f"{id_[0]}-{id_[1]}"


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker says of an event that its handler has finished, or at which it `failed`: then
    without its record."""

    partition: int
    id: Id
    record: Record
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What a producer says of a record: its id, or why it was given up."""

    key: str
    number: int
    id: Id | None
    error: str = ""


def read_done(line: bytes) -> Done:
    """A worker's line. Raises ValueError, which says what is wrong with it."""
    found = _object(line)
    partition, record = found.get("partition"), found.get("record")
    if type(partition) is not int or not 0 <= partition < PARTITIONS:
        raise ValueError(f"partition must be a number below {PARTITIONS}, not {partition!r}")
    if found.get("failed") is True:
        return Done(partition, _id(found), {}, failed=True)
    if not isinstance(record, dict):
        raise ValueError(f"record must be a JSON object, not {record!r}")
    return Done(partition, _id(found), record)


def read_sent(line: bytes) -> Sent:
    """A producer's line. Raises ValueError, which says what is wrong with it."""
    found = _object(line)
    key, number = found.get("key"), found.get("number")
    if not isinstance(key, str) or type(number) is not int:
        raise ValueError("key must be the text and number the integer of the record")
    if "error" in found:
        return Sent(key, number, None, str(found["error"]))
    return Sent(key, number, _id(found))


def _object(line: bytes) -> Record:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _id(found: Record) -> Id:
    text = found.get("id")
    try:
        return parse_id(text or "") if isinstance(text, str) else parse_id("")
    except ValueError:
        raise ValueError(
            f"id must be the id of the event as text, such as 1-0, not {text!r}"
        ) from None
