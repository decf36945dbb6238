"""Builds every key and channel that Runnel uses in Redis, with one function for each.

The characters between names are not allowed in names, so two different things never share a key.
The part in braces is the hash tag: all keys of one partition live in one slot of a Redis Cluster,
and so do all keys of one group.
"""

from __future__ import annotations

import re

from runnel.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
MAX_NAME = 100


def check_name(kind: str, name: str) -> str:
    """Return `name` if it may be part of a key.

    Raises ConfigError otherwise: names are letters, digits, ``_ - .``, start with a letter or
    digit and have at most 100 characters.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise ConfigError(
            f"{kind} name {name!r} is not usable: use letters, digits, '_', '-' and '.', "
            f"starting with a letter or digit, at most {MAX_NAME} characters"
        )
    return name


# Partition scope. `source` is the stream whose partitioning is used: the stream itself or, for a
# derived stream, the stream that it derives from, so that both live in the same slot.


def partition(app: str, source: str, number: int, stream: str) -> str:
    """The start of all keys of one partition of one stream."""
    return f"runnel:{{{app}:{source}:{number}}}:{stream}"


def scope(key: str) -> tuple[str, str, int]:
    """App, source and number of the partition that a key belongs to."""
    app, source, number = key.partition("{")[2].partition("}")[0].split(":")
    return app, source, int(number)


def first_partition(prefix: str) -> str:
    """The start of the keys of partition 0, which stands for the stream, from that of another
    one."""
    return re.sub(r":\d+}", ":0}", prefix, count=1)


def same_slot(prefix: str, other: str) -> bool:
    """Are the keys of both partitions in one slot of a Redis Cluster?"""
    return prefix.partition("}")[0] == other.partition("}")[0]


def log(prefix: str) -> str:
    """Stream: the events of the partition."""
    return f"{prefix}:log"


def meta(prefix: str) -> str:
    """Hash: the contract of all clients, and the checkpoints of the registered processors."""
    return f"{prefix}:meta"


def producers(prefix: str) -> str:
    """Hash: producer -> its last append, for idempotent sending."""
    return f"{prefix}:producers"


def numbers(prefix: str) -> str:
    """Hash: sender -> the last number that it gave an event, and its last append."""
    return f"{prefix}:numbers"


def dedupe(prefix: str, key: str) -> str:
    """String: the event that was sent under this key. It expires."""
    return f"{prefix}:dedupe:{key}"


def delayed(prefix: str) -> str:
    """Sorted set: events that are not in the log yet, by the time when they are due."""
    return f"{prefix}:delayed"


def delayed_request(prefix: str, key: str) -> str:
    """String: what a request to keep events until they are due has done. It expires."""
    return f"{prefix}:delayed:{key}"


def barrier(log: str) -> str:
    """String without meaning: written before a client asks whether its writes are replicated."""
    return f"{log.removesuffix(':log')}:barrier"


def state(prefix: str, processor: str) -> str:
    """Hash: one processor's token, checkpoint, counters and failures on the partition."""
    return f"{prefix}:processor:{processor}"


def outbox(prefix: str, processor: str) -> str:
    """Stream: entries that the processor's commits have written for streams in other slots."""
    return f"{prefix}:outbox:{processor}"


def parked(prefix: str, processor: str) -> str:
    """Stream: events of the processor that are set aside, in order."""
    return f"{prefix}:parked:{processor}"


def parked_keys(prefix: str, processor: str) -> str:
    """Hash: key -> how many of its events are parked, and how its last replay failed."""
    return f"{prefix}:parked_keys:{processor}"


def replay(prefix: str, processor: str) -> str:
    """Hash: the keys whose parked events are to be replayed."""
    return f"{prefix}:replay:{processor}"


def postponed(prefix: str, processor: str) -> str:
    """Sorted set: the parked events that are tried again, by the time when they are due."""
    return f"{prefix}:postponed:{processor}"


def table(prefix: str, name: str) -> str:
    """Hash: a table, which the commits of one processor write."""
    return f"{prefix}:table:{name}"


def expiry(prefix: str, name: str) -> str:
    """Sorted set: key of a table whose keys expire -> when a commit wrote it last, in ms of the
    server's clock."""
    return f"{prefix}:table:{name}:expiry"


def all_of_table(prefix: str, name: str) -> tuple[str, str]:
    """Both keys of a table."""
    return table(prefix, name), expiry(prefix, name)


def snapshot(prefix: str, name: str, processor: str) -> str:
    """Hash: what a snapshot of a processor's tables is, and the start of the keys of its copies."""
    return f"{prefix}:snapshot:{name}:{processor}"


def restoring(snapshot: str) -> str:
    """The start of the keys of tables that are about to be put in place."""
    return f"{snapshot}:restore"


# Group scope.


def group(app: str, stream: str, processor: str) -> str:
    """The start of all keys of one processor's group."""
    return f"runnel:{{{app}:{stream}@{processor}}}"


def plan(prefix: str) -> str:
    """Hash: the group's settings, its last grant, owners and targets."""
    return f"{prefix}:plan"


def members(prefix: str) -> str:
    """Hash: member -> incarnation, call number and description."""
    return f"{prefix}:members"


def sessions(prefix: str) -> str:
    """Sorted set: member -> end of its session, in ms of the server's clock."""
    return f"{prefix}:sessions"


def wake(prefix: str) -> str:
    """Channel: says that the group's assignments changed, or that the leader of an app has left. It
    is only a hint."""
    return f"{prefix}:wake"


def delayed_wake(app: str, stream: str) -> str:
    """Channel: says that an event of the stream is due sooner than any that waited in its
    partition. It is only a hint."""
    return f"runnel:{{{app}:{stream}}}:delayed"


# App scope.


def app_scope(app: str) -> str:
    """The start of the keys of an app's leader and cron tasks."""
    return f"runnel:{{{app}}}"


def leader(app: str) -> str:
    """Hash: the app's leader lease."""
    return f"{app_scope(app)}:leader"


def ticks(app: str) -> str:
    """Hash: cron task -> the last instant that fired, which worker fired it, and the schedule."""
    return f"{app_scope(app)}:ticks"


# The registry: a hint for `inspect`. Every worker that starts writes it again.


def apps() -> str:
    """Set: names of the apps in this Redis."""
    return "runnel:apps"


def streams(app: str) -> str:
    """Hash: stream -> ``partition_count source``."""
    return f"runnel:{{{app}}}:streams"


def processors(app: str) -> str:
    """Hash: ``stream@processor`` -> partition count."""
    return f"runnel:{{{app}}}:processors"


#: ACL pattern that covers every key and channel of all apps.
EVERY = "runnel:*"


def patterns(app: str) -> tuple[str, ...]:
    """ACL patterns that cover every key and channel of the app, and none of other apps."""
    return (f"runnel:{{{app}:*", f"runnel:{{{app}}}:*", apps())
