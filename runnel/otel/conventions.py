"""Names of OpenTelemetry's semantic conventions for messaging, version 1.45. They are not stable
yet: here is the only place that has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from runnel.observer import Lease

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
GROUP = "messaging.consumer.group.name"
CLIENT = "messaging.client.id"
MESSAGE = "messaging.message.id"
BODY_SIZE = "messaging.message.body.size"
BATCH_COUNT = "messaging.batch.message_count"
SERVER = "server.address"
ERROR_TYPE = "error.type"
#: Runnel's own.
APP = "runnel.app"
EPOCH = "runnel.epoch"
DECISION = "runnel.decision"

#: Name of an operation -> its type.
OPERATIONS = {"send": "send", "receive": "receive", "process": "process", "ack": "settle"}

Attributes = Mapping[str, Any]


def of_stream(app: str, stream: str, url: str) -> dict[str, Any]:
    """The attributes of all spans that concern a stream."""
    found: dict[str, Any] = {SYSTEM: "runnel", APP: app, DESTINATION: stream}
    try:
        parts = urlsplit(url)
    except ValueError:
        return found
    if parts.hostname and "," not in parts.netloc:
        found[SERVER] = parts.hostname
    return found


def of_lease(lease: Lease, url: str) -> dict[str, Any]:
    """Those of all spans of a worker that concern a partition."""
    return {
        **of_stream(lease.app, lease.stream, url),
        PARTITION: str(lease.partition),
        GROUP: lease.processor,
        CLIENT: lease.member,
        EPOCH: lease.epoch,
    }


def of_operation(name: str) -> dict[str, Any]:
    """Those of an operation: `send`, `receive`, `process` or `ack`."""
    return {OPERATION_NAME: name, OPERATION_TYPE: OPERATIONS[name]}
