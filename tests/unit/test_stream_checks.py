"""What an action on a stream may run is known before anything is written."""

from __future__ import annotations

from runnel import App, Record
from runnel.preflight.stream_checks import required_by_stream


class Order(Record):
    id: int


SPEC = App("shop").stream("orders", record=Order, partition_by="id").spec


def test_only_what_an_action_does_is_asked_for() -> None:
    scripts = {
        action: {call.script for call in required_by_stream(SPEC, action).calls}
        for action in ("create", "show", "trim")
    }
    assert scripts == {
        "create": {"describe", "declare"},
        "show": {"describe"},
        "trim": {"describe", "trim"},
    }
    commands = {command for command, _ in required_by_stream(SPEC, "trim").uses()}
    assert {"XTRIM", "HINCRBY", "XRANGE", "XINFO GROUPS"} <= commands
    assert not {"XTRIM", "HSET"} & {each for each, _ in required_by_stream(SPEC, "show").uses()}
