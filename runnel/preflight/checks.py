"""Checks Redis before anything is written, and explains each problem in one sentence.

Each function asks Redis and writes nothing. It raises an exception for a problem that Runnel cannot
work with, and returns a warning, one sentence, for any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.exceptions import ResponseError

from runnel import keys, protocol
from runnel.app import App
from runnel.connection.durability import Durability
from runnel.connection.url_text import redacted
from runnel.errors import Mismatch, ServerError, Unregistered
from runnel.preflight.acl import Required, check, may
from runnel.preflight.parking import parking_uses, required_by_dead
from runnel.preflight.table_checks import check_declared, check_writers, declared_elsewhere
from runnel.processor import Processor
from runnel.protocol import CheckpointMove, PartitionDescription, PartitionKeys, Token
from runnel.protocol.scripts import PROTOCOL, Call, Scripts
from runnel.stream import StreamSpec
from runnel.table import Table

_TOKEN = Token(0, "")
_MOVE = CheckpointMove("0-0", "0-0", 0)
#: Default partition count of the first Runnel (2020), whose workers created all partitions at once.
_OLD_PARTITIONS = 16


async def check_worker(
    scripts: Scripts, app: App, processors: Iterable[Processor], url: str
) -> list[str]:
    """Check before a worker registers anything. Returns warnings.

    Raises ServerError for a missing permission or command, or a key of another program, Mismatch if
    a stream in Redis has another contract, and ConfigError if another processor writes a table.
    """
    processors, specs = list(processors), [stream.spec for stream in app.streams.values()]
    warnings = await check(scripts, required_by_worker(app, processors), url)
    for spec in specs:
        await check_contract(scripts, spec, url)
    await check_declared(scripts, app)
    for each in processors:
        await check_writers(scripts, app, each)
    return [*warnings, *await leftovers(scripts, specs)]


async def check_sender(
    scripts: Scripts, spec: StreamSpec[Any], durability: Durability, url: str
) -> None:
    """Check before something is sent. Raises ServerError for a missing permission."""
    await check(scripts, required_by_sender(spec, durability), url)


async def check_registration(scripts: Scripts, processor: Processor, url: str) -> list[str]:
    """Check before a processor is registered, like `check_worker`. Returns warnings."""
    warnings = await check(scripts, required_by_registration(processor), url)
    await check_contract(scripts, processor.stream, url)
    return [*warnings, *await leftovers(scripts, [processor.stream])]


async def check_operator(scripts: Scripts, processor: Processor, action: str, url: str) -> None:
    """Check before an operator's `action`: reset, pause, resume, acknowledge, skip or remove.

    Raises ServerError for a missing permission, Mismatch, and, unless the action is `remove`,
    Unregistered.
    """
    await check(scripts, required_by_operator(processor, action), url)
    seen = await check_contract(scripts, processor.stream, url, processor.name)
    if seen.checkpoint is None and action != "remove":
        raise Unregistered(
            f"processor {processor.name} is not registered on stream {processor.stream.name}: "
            "start a worker, or run `runnel processor add`"
        )


async def check_deletion(scripts: Scripts, spec: StreamSpec[Any], url: str) -> None:
    """Check before a stream is deleted. Raises ServerError for a missing permission; Mismatch."""
    await check(scripts, required_by_deletion(spec), url)
    await check_contract(scripts, spec, url)


async def check_table(scripts: Scripts, table: Table[Any], action: str, url: str) -> None:
    """Check before a table is listed, read, exported or cleared. Raises ServerError for a missing
    permission; Mismatch."""
    await check(scripts, required_by_table(table, action), url)
    await check_contract(scripts, table.stream, url)


async def check_dead(scripts: Scripts, processor: Processor, action: str, url: str) -> None:
    """Check before an action on what a processor has set aside. Raises ServerError for a missing
    permission; Mismatch."""
    await check(scripts, required_by_dead(processor, action), url)
    await check_contract(scripts, processor.stream, url)


async def check_reader(
    scripts: Scripts, spec: StreamSpec[Any], follow: bool, url: str
) -> PartitionDescription:
    """Check before events are looked at. Returns the description of partition 0. Raises ServerError
    for a missing permission; Mismatch."""
    await check(scripts, required_by_reader(spec, follow), url)
    return await check_contract(scripts, spec, url)


def required_by_worker(app: App, processors: Iterable[Processor]) -> Required:
    """What a worker of these processors may run."""
    calls: list[Call] = []
    direct = [("SADD", keys.apps()), ("HSET", keys.streams(app.name))]
    # To wake its own blocking read.
    direct += [("CLIENT ID", ""), ("CLIENT UNBLOCK", "")]
    direct += [("HGET", meta) for meta, _ in declared_elsewhere(app)]
    channels = []
    for each in processors:
        partition_keys, contract = each.keys(0), each.stream.contract
        calls += [
            protocol.describe(partition_keys),
            protocol.declare(partition_keys.prefix, contract),
            protocol.register(partition_keys, contract, each.start),
            protocol.sync(each.group, 1, (1, 1, 1), ("m", "i", ""), 1, "stay", (), ()),
            protocol.claim(partition_keys, contract, "m", 1, ""),
            protocol.promote(partition_keys.prefix, contract, 2),
            protocol.commit(partition_keys, _TOKEN, _MOVE),
            protocol.attempt(partition_keys, _TOKEN, "start", "0-0", 0),
        ]
        calls.append(_finish(each))
        if each.stream.retention.max_age_ms:
            calls.append(protocol.trim(partition_keys.prefix, 0, 1, "refuse"))
        more_calls, more_direct = parking_uses(each)
        calls += more_calls
        direct += more_direct
        tables = [keys.table(partition_keys.prefix, name) for name in each.tables]
        direct += [("HMGET", table) for table in tables]
        direct += [("HGET", partition_keys.meta)] * bool(tables)
        direct += [(command, partition_keys.log) for command in ("XREAD", "XRANGE")]
        direct += [("HSET", keys.processors(app.name))]
        direct += _ack_commands(app.settings.durability, partition_keys.prefix)
        channels += [("PUBLISH", keys.wake(each.group)), ("SUBSCRIBE", keys.wake(each.group))]
    if app.tasks:
        calls += [protocol.elect(app.name, "m", "n", 1), protocol.tick(app.name, "t", 1, "n", "s")]
    if any(task.on_leader for task in app.tasks.values()):
        wake = keys.wake(keys.app_scope(app.name))
        channels += [("PUBLISH", wake), ("SUBSCRIBE", wake)]
    return Required(
        app.name, tuple(calls), tuple(dict.fromkeys(direct)), tuple(channels), "a worker"
    )


def required_by_sender(spec: StreamSpec[Any], durability: Durability = "primary") -> Required:
    """What a producer of a stream may run."""
    prefix, contract = spec.prefix(0), spec.contract
    append = protocol.append(prefix, contract, 2, "refuse", "p", 1, [])
    calls = (protocol.declare(prefix, contract), append, protocol.promote(prefix, contract, 2))
    direct = tuple(_ack_commands(durability, prefix))
    return Required(spec.app, calls, direct, of="sending")


def _ack_commands(durability: Durability, prefix: str) -> list[tuple[str, str]]:
    """The commands that wait for a replica or the disk."""
    if durability == "primary":
        return []
    barrier = keys.barrier(keys.log(prefix))
    wait = "WAIT" if durability == "replica" else "WAITAOF"
    return [("SET", barrier), ("PEXPIRE", barrier), (wait, "")]


def required_by_registration(processor: Processor) -> Required:
    """What it takes to register a processor, and to list it for `inspect`."""
    partition_keys, app = processor.keys(0), processor.app
    register = protocol.register(partition_keys, processor.stream.contract, processor.start)
    registry = (
        ("SADD", keys.apps()),
        ("HSET", keys.streams(app)),
        ("HSET", keys.processors(app)),
    )
    return Required(app, (protocol.describe(partition_keys), register), registry)


def required_by_operator(processor: Processor, action: str) -> Required:
    """What an operator's action on a processor may run."""
    partition_keys, group, app = processor.keys(0), processor.group, processor.app
    log, revoke = partition_keys.log, protocol.revoke(group, [0])
    calls = [protocol.describe(partition_keys), revoke]
    direct: list[tuple[str, str]] = []
    if action == "reset":
        calls.append(protocol.seek(partition_keys, "0", None, "", ["t"]))
        direct += [("XINFO STREAM", log), ("XRANGE", log), ("HGETALL", partition_keys.meta)]
        direct.append(("HLEN", keys.table(partition_keys.prefix, "t")))
    elif action == "pause":
        calls.append(protocol.pause(partition_keys))
    elif action == "acknowledge":
        calls.append(protocol.acknowledge(partition_keys, 1))
    elif action == "remove":
        calls += [protocol.remove(partition_keys), protocol.describe_group(group)]
        direct += [("UNLINK", keys.plan(group)), ("HDEL", keys.processors(app))]
        direct.append(("HGETALL", partition_keys.meta))  # Names its tables.
        direct.append(("XLEN", protocol.parked_names(partition_keys)[0]))
    else:
        calls.append(protocol.resume(partition_keys))
    if action == "skip":
        contract = processor.stream.contract
        calls += [protocol.claim(partition_keys, contract, "m", 1, ""), _finish(processor)]
        direct.append(("XRANGE", log))
    return Required(app, tuple(calls), tuple(direct), (("PUBLISH", keys.wake(group)),))


def required_by_deletion(spec: StreamSpec[Any]) -> Required:
    """What it takes to delete a stream."""
    prefix, app = spec.prefix(0), spec.app
    group = keys.group(app, spec.name, "p")
    snapshot = keys.snapshot(prefix, "s", "p")
    direct = (
        ("HKEYS", keys.meta(prefix)),
        ("HDEL", keys.meta(prefix)),
        ("HGETALL", snapshot),
        ("UNLINK", snapshot),
        ("XLEN", keys.parked(prefix, "p")),
        ("ZCARD", keys.delayed(prefix)),
        ("UNLINK", keys.plan(group)),
        ("HDEL", keys.streams(app)),
    )
    partition_keys = PartitionKeys(prefix, "p")
    calls = (
        protocol.describe(partition_keys),
        protocol.remove(partition_keys),
        protocol.delete(prefix, ["t"]),
        protocol.describe_group(group),
        protocol.revoke(group, (0,)),
    )
    return Required(app, calls, direct, (("PUBLISH", keys.wake(group)),))


def required_by_table(table: Table[Any], action: str) -> Required:
    """What an action on a table may run: list, get, export or clear."""
    spec = table.stream
    partition_keys = PartitionKeys(spec.prefix(0), "p")
    name, group = (
        keys.table(partition_keys.prefix, table.name),
        keys.group(spec.app, spec.name, "p"),
    )
    calls = [protocol.describe(partition_keys)]
    read = {"get": "HMGET", "export": "HSCAN"}.get(action, "HLEN")
    direct = [(read, name), ("HGET", partition_keys.meta), ("HMGET", partition_keys.meta)]
    channels = []
    if action == "export":
        direct.append(("INFO", ""))  # Says if the server was replaced meanwhile.
    if action == "clear":
        calls += [
            protocol.describe_group(group),
            protocol.clear_table(partition_keys, table.name, ""),
            protocol.revoke(group, [0]),
        ]
        channels.append(("PUBLISH", keys.wake(group)))
    return Required(spec.app, tuple(calls), tuple(direct), tuple(channels))


def required_by_reader(spec: StreamSpec[Any], follow: bool) -> Required:
    """What it takes to look at events; to `follow` them, to wait for new ones."""
    partition_keys = PartitionKeys(spec.prefix(0), "p")
    log = partition_keys.log
    direct = [("XRANGE", log), ("XREVRANGE", log), ("HGETALL", partition_keys.meta)]
    if follow:
        direct.append(("XREAD", log))
    return Required(spec.app, (protocol.describe(partition_keys),), tuple(direct))


def _finish(processor: Processor) -> Call:
    """The commit of an event, with all effects that it may have."""
    partition_keys = processor.keys(0)
    prefix, effects = partition_keys.prefix, list[protocol.Effect]()
    if processor.sink is not None:
        effects.append(protocol.Entries(processor.sink.sink(0), []))
    effects += [
        protocol.TableWrites(prefix, name, expire=processor.expire.get(name))
        for name in processor.tables
    ]
    if not effects:
        return protocol.commit(partition_keys, _TOKEN, _MOVE)
    return protocol.transact(partition_keys, _TOKEN, _MOVE, effects)


async def check_contract(
    scripts: Scripts, spec: StreamSpec[Any], url: str, processor: str = ""
) -> PartitionDescription:
    """Raise Mismatch if the stream in Redis has another contract than the code declares.

    The scripts refuse such a stream too, but each checks only its own partition. A client with too
    large a count could write to partitions that do not exist yet; partition 0 always does. Returns
    the description of partition 0.
    """
    partition_keys = PartitionKeys(spec.prefix(0), processor)
    try:
        seen = protocol.read_describe(await scripts.call(protocol.describe(partition_keys)))
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ServerError(
            f"Redis at {redacted(url)} holds something else under the keys "
            f"{partition_keys.prefix}:* of stream {spec.name}: rename the stream, or remove what "
            "is there"
        ) from error
    if seen.protocol is not None and seen.protocol > PROTOCOL:
        raise _mismatch(spec, "protocol", seen.protocol, PROTOCOL)
    if seen.partition_count not in (None, spec.partition_count):
        raise _mismatch(spec, "partitions", seen.partition_count, spec.partition_count)
    if seen.hash not in (None, spec.hasher.name):
        raise _mismatch(spec, "hash", seen.hash, spec.hasher.name)
    return seen


def _mismatch(spec: StreamSpec[Any], field: str, stored: object, given: object) -> Mismatch:
    return Mismatch(
        f"MISMATCH stream={spec.name} field={field} stored={stored} given={given}",
        {"stream": spec.name, "field": field, "stored": str(stored), "given": str(given)},
    )


async def leftovers(scripts: Scripts, specs: Iterable[StreamSpec[Any]]) -> list[str]:
    """A sentence for each stream of which the first Runnel (2020) left events in Redis.

    Its keys are looked up by their exact names, so the cost does not depend on other keys.
    """
    warnings = []
    for spec in specs:
        names = [f"__strm:{spec.app}.{spec.name}.{n}" for n in range(_OLD_PARTITIONS)]
        # A user who may not read them cannot have written them. `may` adds nothing to ACL LOG.
        if not all((await may(scripts, [("EXISTS", names[0])])).values()):
            continue
        answers = await scripts.deployment.send([(name, ("EXISTS", name)) for name in names])
        found = [name for name, there in zip(names, answers, strict=True) if there == 1]
        if found:
            warnings.append(
                f"Redis holds {len(found)} streams of the first Runnel (2020) for stream "
                f"{spec.name}, such as {found[0]}: they are neither read nor touched. Let workers "
                "of the old version finish them, then delete the keys that match "
                f"'__*:{spec.app}.{spec.name}.*'."
            )
    return warnings
