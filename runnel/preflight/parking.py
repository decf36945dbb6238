"""The permissions that it takes to park events, and to administer what was set aside."""

from __future__ import annotations

from runnel import keys, protocol
from runnel.preflight.acl import Required
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol import CheckpointMove, Token
from runnel.protocol.scripts import Call

_TOKEN, _MOVE = Token(0, ""), CheckpointMove("0-0", "0-0", 0)


def parking_uses(processor: Processor) -> tuple[list[Call], list[tuple[str, str]]]:
    """The calls and commands with which a worker parks and replays events. A processor that keeps
    dead letters may replay them."""
    later = processor.policy is ExceptionPolicy.RETRY_LATER
    if not later and processor.policy is not ExceptionPolicy.PARK and processor.sink is None:
        return [], []
    of = processor.keys(0)
    parked, of_keys, marks = protocol.parked_names(of)
    effects: list[list[protocol.Effect]] = [
        [protocol.ParkedEntries(of, 1, [])],
        [protocol.Replayed(of, [])],
    ]
    calls = [protocol.transact(of, _TOKEN, _MOVE, each) for each in effects]
    calls.append(protocol.park_again(of, _TOKEN, b"", "0-0", 0, ("", "")))
    calls.append(protocol.due(of, 1))
    if later:
        calls.append(
            protocol.transact(of, _TOKEN, _MOVE, [protocol.PostponedEntries(of, 0, 1, [])])
        )
        calls.append(protocol.postpone(of, _TOKEN, "0-0", 0, ("0-0", 0, ("", ""))))
    return calls, [("HGETALL", of_keys), ("HKEYS", marks), ("XRANGE", parked)]


def required_by_dead(processor: Processor, action: str) -> Required:
    """What an action on what was set aside may run: list, show, replay or drop."""
    of, app = processor.keys(0), processor.app
    parked, of_keys, marks = protocol.parked_names(of)
    calls = [protocol.describe(of)]
    direct = [("XRANGE", parked), ("HGETALL", of_keys), ("HKEYS", marks)]
    direct.append(("ZRANGE", of.postponed))
    channels: list[tuple[str, str]] = []
    if processor.sink is not None:
        direct.append(("XRANGE", keys.log(processor.sink.prefix(0))))
    if action in ("replay", "drop"):
        calls.append(protocol.revoke(processor.group, [0]))
        channels.append(("PUBLISH", keys.wake(processor.group)))
        if action == "replay":
            calls.append(protocol.replay(of, [], ""))
        else:
            calls.append(protocol.drop_parked(of, [], ""))
        if processor.sink is not None:
            calls.append(protocol.take_letters(of, processor.sink.prefix(0), [], 1, ""))
    return Required(app, tuple(calls), tuple(direct), tuple(channels))
