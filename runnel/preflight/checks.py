"""What is looked at before anything is written, so that the user hears of it in one sentence.

Each function asks Redis and writes nothing. What cannot work raises; what only deserves a word
comes back as a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.exceptions import ResponseError

from runnel import keys, protocol
from runnel.app import App
from runnel.connection.durability import Durability
from runnel.connection.url_text import shown
from runnel.errors import Mismatch, ServerError, Unregistered
from runnel.preflight.acl import Required, check, may
from runnel.processor import Processor
from runnel.protocol import CheckpointMove, PartitionDescription, PartitionKeys, Token
from runnel.protocol.scripts import PROTOCOL, Call, Scripts
from runnel.stream import StreamSpec

_TOKEN = Token(0, "")
_STEP = CheckpointMove("0-0", "0-0", 0)
#: Partitions of the first Runnel (2020) unless told otherwise; a worker's start made all of them.
_OLD_PARTITIONS = 16


async def check_worker(
    scripts: Scripts, app: App, processors: Iterable[Processor], url: str
) -> list[str]:
    """Before a worker registers anything.

    Raises ServerError for a missing right or command or a key that is not ours, and Mismatch if
    Redis holds a stream made otherwise. Returns warnings.
    """
    specs = [stream.spec for stream in app.streams.values()]
    warnings = await check(scripts, needs_of_worker(app, processors), url)
    for spec in specs:
        await check_agreement(scripts, spec, url)
    return [*warnings, *await leftovers(scripts, specs)]


async def check_sender(
    scripts: Scripts, spec: StreamSpec[Any], durability: Durability, url: str
) -> None:
    """Before something is sent. Raises ServerError for a missing right."""
    await check(scripts, needs_of_sender(spec, durability), url)


async def check_registration(scripts: Scripts, processor: Processor, url: str) -> list[str]:
    """Before a processor is registered, as `check_worker`. Returns warnings."""
    warnings = await check(scripts, needs_of_registration(processor), url)
    await check_agreement(scripts, processor.stream, url)
    return [*warnings, *await leftovers(scripts, [processor.stream])]


async def check_operator(scripts: Scripts, processor: Processor, action: str, url: str) -> None:
    """Before an operator's `action`: reset, pause, resume, skip or remove.

    Raises ServerError for a missing right, Mismatch, and Unregistered, unless it is for `remove`.
    """
    await check(scripts, needs_of_operator(processor, action), url)
    seen = await check_agreement(scripts, processor.stream, url, processor.name)
    if seen.checkpoint is None and action != "remove":
        raise Unregistered(
            f"processor {processor.name} is not registered on stream {processor.stream.name}: "
            "start a worker, or run `runnel processor add`"
        )


async def check_deletion(scripts: Scripts, spec: StreamSpec[Any], url: str) -> None:
    """Before a stream is deleted. Raises ServerError for a missing right, and Mismatch."""
    await check(scripts, needs_of_deletion(spec), url)
    await check_agreement(scripts, spec, url)


def needs_of_worker(app: App, processors: Iterable[Processor]) -> Required:
    """What a worker of these processors may have to do."""
    calls: list[Call] = []
    direct = [("SADD", keys.apps()), ("HSET", keys.streams(app.name))]
    # To wake its own blocking read.
    direct += [("CLIENT ID", ""), ("CLIENT UNBLOCK", "")]
    channels = []
    for each in processors:
        place, contract, log = each.keys(0), each.stream.contract, keys.log(each.keys(0).prefix)
        calls += [
            protocol.describe(place),
            protocol.declare(place.prefix, contract),
            protocol.register(place, contract, each.start),
            protocol.sync(each.group, 1, (1, 1, 1), ("m", "i", ""), 1, "stay", (), ()),
            protocol.claim(place, contract, "m", 1, ""),
            protocol.commit(place, _TOKEN, _STEP),
            protocol.attempt(place, _TOKEN, "start", "0-0", 0),
        ]
        if each.sink is not None:
            calls.append(_finish(each))
        direct += [("XREAD", log), ("XRANGE", log), ("HSET", keys.processors(app.name))]
        direct += _confirming(app.settings.durability, each.keys(0).prefix)
        channels += [("PUBLISH", keys.wake(each.group)), ("SUBSCRIBE", keys.wake(each.group))]
    if app.tasks:
        calls += [protocol.elect(app.name, "m", "n", 1), protocol.tick(app.name, "t", 1, "n", "s")]
    if any(task.on_leader for task in app.tasks.values()):
        wake = keys.wake(keys.app_scope(app.name))
        channels += [("PUBLISH", wake), ("SUBSCRIBE", wake)]
    return Required(
        app.name, tuple(calls), tuple(dict.fromkeys(direct)), tuple(channels), "a worker"
    )


def needs_of_sender(spec: StreamSpec[Any], durability: Durability = "primary") -> Required:
    """What sending to a stream may have to do."""
    prefix, contract = spec.prefix(0), spec.contract
    append = protocol.append(prefix, contract, 2, "refuse", "p", 1, [])
    calls = (protocol.declare(prefix, contract), append)
    direct = tuple(_confirming(durability, prefix))
    return Required(spec.app, calls, direct, of="sending")


def _confirming(durability: Durability, prefix: str) -> list[tuple[str, str]]:
    """What waiting for a replica or the disk takes."""
    if durability == "primary":
        return []
    barrier = keys.barrier(keys.log(prefix))
    wait = "WAIT" if durability == "replica" else "WAITAOF"
    return [("SET", barrier), ("PEXPIRE", barrier), (wait, "")]


def needs_of_registration(processor: Processor) -> Required:
    """What registering a processor, and entering it for `inspect`, may have to do."""
    place, app = processor.keys(0), processor.app
    register = protocol.register(place, processor.stream.contract, processor.start)
    registry = (
        ("SADD", keys.apps()),
        ("HSET", keys.streams(app)),
        ("HSET", keys.processors(app)),
    )
    return Required(app, (protocol.describe(place), register), registry)


def needs_of_operator(processor: Processor, action: str) -> Required:
    """What an operator's action on a processor may have to do."""
    place, group, app = processor.keys(0), processor.group, processor.app
    log, revoke = place.log, protocol.revoke(group, [0])
    calls = [protocol.describe(place), revoke]
    direct: list[tuple[str, str]] = []
    if action == "reset":
        calls.append(protocol.seek(place, "0", None, ""))
        direct += [("XINFO STREAM", log), ("XRANGE", log)]
    elif action == "pause":
        calls.append(protocol.pause(place))
    elif action == "remove":
        calls += [protocol.remove(place), protocol.describe_group(group)]
        direct += [("UNLINK", keys.plan(group)), ("HDEL", keys.processors(app))]
    else:
        calls.append(protocol.resume(place))
    if action == "skip":
        contract = processor.stream.contract
        calls += [protocol.claim(place, contract, "m", 1, ""), _finish(processor)]
        direct.append(("XRANGE", log))
    return Required(app, tuple(calls), tuple(direct), (("PUBLISH", keys.wake(group)),))


def needs_of_deletion(spec: StreamSpec[Any]) -> Required:
    """What deleting a stream may have to do."""
    prefix, app = spec.prefix(0), spec.app
    group = keys.group(app, spec.name, "p")
    direct = (
        ("HKEYS", keys.meta(prefix)),
        ("UNLINK", keys.plan(group)),
        ("HDEL", keys.streams(app)),
    )
    place = PartitionKeys(prefix, "p")
    calls = (
        protocol.describe(place),
        protocol.remove(place),
        protocol.delete(prefix),
        protocol.describe_group(group),
        protocol.revoke(group, (0,)),
    )
    return Required(app, calls, direct, (("PUBLISH", keys.wake(group)),))


def _finish(processor: Processor) -> Call:
    """The commit that sets an event aside."""
    place = processor.keys(0)
    if processor.sink is None:
        return protocol.commit(place, _TOKEN, _STEP)
    return protocol.emit(place, _TOKEN, _STEP, processor.sink.prefix(0), 2, "refuse", [])


async def check_agreement(
    scripts: Scripts, spec: StreamSpec[Any], url: str, processor: str = ""
) -> PartitionDescription:
    """Raise Mismatch if the stream in Redis is not the one that the code declares.

    The scripts refuse it too, but each for its own partition: those that only a wrong count has
    hold nothing yet that differs. Returns the description of partition 0.
    """
    place = PartitionKeys(spec.prefix(0), processor)
    try:
        seen = protocol.read_describe(await scripts.call(protocol.describe(place)))
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ServerError(
            f"Redis at {shown(url)} holds something else under the keys {place.prefix}:* of stream "
            f"{spec.name}: rename the stream, or remove what is there"
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
    """A sentence for each stream under whose name the first Runnel (2020) left events.

    Its keys are looked for by their exact names, so the cost does not depend on what else is there.
    """
    warnings = []
    for spec in specs:
        names = [f"__strm:{spec.app}.{spec.name}.{n}" for n in range(_OLD_PARTITIONS)]
        # A user who may not look at them cannot have written them; asking leaves no trace.
        if not all((await may(scripts, [("EXISTS", names[0])])).values()):
            continue
        answers = await scripts.deployment.send([(name, ("EXISTS", name)) for name in names])
        found = [name for name, there in zip(names, answers, strict=True) if there == 1]
        if found:
            warnings.append(
                f"Redis holds {len(found)} streams of the first Runnel (2020) for stream "
                f"{spec.name}, such as {found[0]}: they are neither read nor touched. Let workers "
                "of the old version finish them, then delete what matches "
                f"'__*:{spec.app}.{spec.name}.*'."
            )
    return warnings
