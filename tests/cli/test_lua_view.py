"""What `runnel lua verify` and `list` print."""

from __future__ import annotations

from typing import Any

import click

from runnel.cli import lua_view


def report(**fields: Any) -> dict[str, Any]:
    return {
        "script_set": "4fbc2d1",
        "protocol": 1,
        "is_this_version": True,
        "nodes": [{"node": "h:1", "loaded": ["a", "b"], "missing": ["c"], "others": 3}],
        "streams": [],
        "processors": [],
        **fields,
    }


def verified(**fields: Any) -> list[str]:
    return [click.unstyle(each) for each in lua_view.verified(report(**fields), "redis://h:1")]


def test_each_server_says_what_it_has() -> None:
    assert verified() == [
        "this installation: script set 4fbc2d1 · protocol 1 · 3 scripts",
        "Redis at redis://h:1:",
        "  h:1: 2 of 3 are loaded; 3 scripts of other versions or programs",
        "    not loaded, until a client calls them: c",
    ]
    nothing = {"node": "h:2", "loaded": [], "missing": ["a", "b", "c"], "others": None}
    assert verified(nodes=[nothing])[2:] == [
        "  h:2: 0 of 3 are loaded; ? scripts of other versions or programs"
    ]


def test_streams_and_members_of_another_version_are_marked() -> None:
    streams = [{"app": "shop", "name": f"s{each}", "protocol": each} for each in (None, 1, 2)]
    members = [
        {"lang": "python", "version": "1.0", "scripts": "4fbc2d1", "count": 2},
        {"lang": "ruby", "version": None, "scripts": None, "count": 1},
        {"lang": "python", "version": "1.1", "scripts": "0fbc2d1", "count": 1},
    ]
    processors = [{"app": "shop", "name": "p", "stream": "s", "members": members}]
    said = [each.split() for each in verified(streams=streams, processors=processors)]
    assert ["shop/sNone", "-", "nothing", "is", "stored", "yet"] in said
    assert ["shop/s1", "1", "ok"] in said
    assert ["shop/s2", "2", "newer", "than", "this", "installation"] in said
    assert ["shop/p", "python", "1.0", "4fbc2d1", "2", "ok"] in said
    no_set = "shop/p ruby ? ? 1 does not say which scripts it calls"
    assert no_set.split() in said
    assert "other scripts than this installation" in " ".join(said[-1])
